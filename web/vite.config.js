// Builds the pages into the package, so that nobody who installs it needs node.
import { readFileSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { build, defineConfig } from "vite";

const OUT = "../src/patchclamp/atlas/static";

/** Return the folder of the package that a module comes from, or nothing for our own. */
function packageOf(id) {
  // A package's root lies right below node_modules; inner package.json files (preact/hooks) carry no licence.
  return /^\0?(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(id)?.[1];
}

/** Write down what others wrote that is inside the built files, with their licences in full. */
function thirdParty() {
  return {
    name: "third-party",
    generateBundle(_, bundle) {
      const folders = new Set();
      for (const chunk of Object.values(bundle)) {
        if (chunk.type !== "chunk") continue;
        for (const id of Object.keys(chunk.modules)) {
          const folder = packageOf(id);
          if (folder) folders.add(folder);
        }
      }
      const texts = [...folders].map((folder) => {
        const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
        const file = readdirSync(folder).find((name) => /^(licen[cs]e|copying)/i.test(name));
        if (!file) this.error(`${about.name} ships no licence text`);
        const licence = readFileSync(join(folder, file), "utf8").trim();
        return `${about.name} ${about.version} (${about.license})\n\n${licence}\n`;
      });
      const rule = `\n${"-".repeat(80)}\n\n`;
      const head = "The built pages of the atlas contain the following code of others.\n";
      this.emitFile({ type: "asset", fileName: "THIRD_PARTY.txt", source: [head, ...texts.sort()].join(rule) });
    },
  };
}

/** Say again what the build leaves out: nothing is drawn before the chosen theme is known. */
function blockRendering() {
  const written = '<script type="module" crossorigin';
  return {
    name: "block-rendering",
    apply: "build",
    transformIndexHtml: {
      order: "post",
      handler(html) {
        if (!html.includes(written)) throw new Error("the script stands otherwise in index.html than expected");
        return html.replace(written, '<script type="module" blocking="render"');
      },
    },
  };
}

const SHARED = { target: "es2022", modulePreload: { polyfill: false } };
const OXC = { jsx: { runtime: "automatic", importSource: "preact" } };
const EVERY = "./screens/*/screen.ts";

/** Build one script of the unit's screen and all that it needs, for pages that are a file. */
function exportedPage() {
  let config;
  const unitAlone = {
    name: "unit-alone",
    transform: (code, id) => (id.endsWith("/screens.ts") ? code.replace(EVERY, "./screens/unit/screen.ts") : null),
    // Its style is the index page's.
    generateBundle(_, bundle) {
      for (const name of Object.keys(bundle)) if (name.endsWith(".css")) delete bundle[name];
    },
  };
  return {
    name: "exported-page",
    apply: "build",
    configResolved(resolved) {
      config = resolved;
    },
    async closeBundle() {
      await build({
        configFile: false,
        root: config.root,
        logLevel: config.logLevel,
        oxc: OXC,
        plugins: [unitAlone],
        build: {
          ...SHARED,
          outDir: resolve(config.root, config.build.outDir),
          emptyOutDir: false,
          copyPublicDir: false,
          rolldownOptions: { input: "src/main.tsx", output: { codeSplitting: false, entryFileNames: "exported.js" } },
        },
      });
    },
  };
}

export default defineConfig({
  plugins: [blockRendering(), thirdParty(), exportedPage()],
  oxc: OXC,
  build: {
    ...SHARED,
    outDir: OUT,
    emptyOutDir: true,
    // Everything small enough for one request; later screens are loaded when they are first opened.
    assetsInlineLimit: 0,
  },
  // `npm run dev` shows a running atlas: PATCHCLAMP_ATLAS=http://127.0.0.1:PORT npm run dev
  server: { proxy: { "/api": { target: process.env.PATCHCLAMP_ATLAS ?? "http://127.0.0.1:8000", changeOrigin: true } } },
});
