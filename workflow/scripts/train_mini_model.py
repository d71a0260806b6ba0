"""Trains the model (or goes on from the last checkpoint) and writes it as float16."""

# Worker processes import this script again, without the object `snakemake`: only the first one trains.
if __name__ == "__main__":
    from fsrl import joblog

    joblog.to(snakemake.log[0], threads=snakemake.threads)

    from pathlib import Path

    from fsrl.mini import export as mini_export
    from fsrl.mini import model as mini_model

    params, output = snakemake.params, snakemake.output
    folder = Path(params.checkpoints)
    settings = mini_model.Training(**params.settings)
    mini_model.train(Path(snakemake.input.train), folder, settings, params.d_vocab)
    mini_export.write_curve(folder / "checkpoint.pt", Path(output.curve))
    mini_export.write_model(folder / "checkpoint.pt", Path(output.weights).parent, d_vocab=params.d_vocab)
