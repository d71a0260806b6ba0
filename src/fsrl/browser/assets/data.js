// Chunks of data.
"use strict";

const fsrl = (() => {
  const waiting = new Map(), loaded = new Map();

  // A loop: Uint8Array.from calls a function for each of three million letters.
  function bytesOf(letters) {
    const bytes = new Uint8Array(letters.length);
    for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
    return bytes;
  }

  async function unpack(text) {
    const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : bytesOf(atob(text));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  // What the script data/{name}.js holds; loaded once.
  function load(name) {
    if (!loaded.has(name)) {
      loaded.set(name, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        waiting.set(name, resolve);
        script.src = `data/${name}.js`;
        script.onerror = () => reject(new Error(`data/${name}.js is missing`));
        document.head.append(script);
      }));
    }
    return loaded.get(name);
  }

  // Called by the scripts of data.
  function chunk(name, text) {
    waiting.get(name)(unpack(text));
  }

  return { load, chunk };
})();
