"""The lines of issue 6 as they stand; what a test puts in their place is said by the test."""

GPT2 = """
from fsrl.utils import SAEfeatureAnalyzer
from fsrl import SAEAdapter, HookedModel
from transformer_lens import HookedTransformer

adapter_kwargs = {"use_lora_adapter": True, "lora_rank": 64, "lora_alpha": 32, "fusion_mode": "additive"}
sae, cfg_dict, sparsity = SAEAdapter.from_pretrained("gpt2-small-res-jb", "blocks.7.hook_resid_pre", device=device, **adapter_kwargs)
model = HookedTransformer.from_pretrained("gpt2-small", device=device)
sae_model = HookedModel(model, sae)

sae_analyzer = SAEfeatureAnalyzer(sae_model)          # all explanations for gpt2-small/7-res-jb
sae_analyzer.feature_info[0]["description"]           # 'mathematical equations involving variables and functions'
sae_analyzer.get_feature_page(0)                      # the feature's dashboard, inline
sae_analyzer.plot_logit_distr_skewness()
sae_analyzer.plot_logit_distr_kurtosis()
sae_analyzer.plot_logit_distr_skewness_vs_kurtosis()  # colour = std, log kurtosis
"""  # noqa: E501

# On the embedded study the SAE is named by its folder (there is no block 7) and the model is the study's.
REPLACED = {
    "from transformer_lens import HookedTransformer": "import fsrl.hub",
    '"gpt2-small-res-jb", "blocks.7.hook_resid_pre"': '"data/mini/saes", "blocks.3.hook_resid_pre"',
    'HookedTransformer.from_pretrained("gpt2-small", device=device)': 'fsrl.hub.load_model("data/mini")',
}
EMBEDDED = GPT2
for line, replacement in REPLACED.items():
    assert EMBEDDED.count(line) == 1
    EMBEDDED = EMBEDDED.replace(line, replacement)


def collected(lines: str) -> str:
    """The same lines, each expression appended to a list `shown`, as a notebook shows a cell's last value."""
    return "\n".join(
        f"shown.append({line.split('#')[0].strip()})" if line.startswith("sae_analyzer.") else line
        for line in lines.splitlines()
    )
