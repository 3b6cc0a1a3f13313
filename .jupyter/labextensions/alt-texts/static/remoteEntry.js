// Alt texts for the pictures of outputs: JupyterLab shows {"image/png": {"alt": "..."}} of an output's metadata nowhere.
//
// A federated extension by hand, without a bundler: JupyterLab calls init with the modules that it shares, then get.
(() => {
  let shared;

  const shareOf = async (name) => {
    const [newest] = Object.values(shared[name]).slice(-1);
    return (await newest.get())();
  };

  const plugin = async () => {
    const { IRenderMimeRegistry, RenderedImage } = await shareOf("@jupyterlab/rendermime");

    class WithAlt extends RenderedImage {
      async render(model) {
        await super.render(model);
        const alt = model.metadata["image/png"]?.alt;
        if (alt) this.node.querySelector("img").alt = alt; // an empty one would call the picture an ornament
      }
    }

    return {
      id: "alt-texts:plugin",
      autoStart: true,
      requires: [IRenderMimeRegistry],
      activate: (_, registry) =>
        registry.addFactory({
          safe: true,
          mimeTypes: ["image/png"],
          defaultRank: registry.getFactory("image/png").defaultRank,
          createRenderer: (options) => new WithAlt(options),
        }),
    };
  };

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["alt-texts"] = {
    init: async (scope) => {
      shared = scope;
    },
    get: async () => {
      const made = await plugin();
      return () => ({ __esModule: true, default: made });
    },
  };
})();
