// Runs exported models in TensorFlow.js: node run.js MODULES BACKEND < cases
//
// MODULES is the folder of the npm packages. Standard input is JSON: for each case the
// file `model` and the `shape` and `data` of its one input. Standard output is JSON too:
// for each case the `shape` and `data` of its one output, or the `error`.
'use strict';
const fs = require('fs');
const path = require('path');

const [modules, backend] = process.argv.slice(2);
const load = (name) => require(path.join(modules, '@tensorflow', name));
// Standard output is for results.
console.warn = console.log = console.error;
const tf = load('tfjs-core');
const {loadGraphModel} = load('tfjs-converter');
const plugin = load('tfjs-backend-' + backend);

// Without tfjs-node, TensorFlow.js reads no files by itself.
function readModel(file) {
  const model = JSON.parse(fs.readFileSync(file, 'utf8'));
  const weights = model.weightsManifest.flatMap((group) => group.paths)
      .map((name) => fs.readFileSync(path.join(path.dirname(file), name)));
  const data = new Uint8Array(Buffer.concat(weights)).buffer;
  return loadGraphModel({
    load: async () => ({
      modelTopology: model.modelTopology,
      signature: model.signature,
      weightSpecs: model.weightsManifest.flatMap((group) => group.weights),
      weightData: data,
    }),
  });
}

async function run({model: file, shape, data}) {
  try {
    const model = await readModel(file);
    const output = model.predict(tf.tensor(data, shape));
    return {shape: output.shape, data: Array.from(await output.data())};
  } catch (error) {
    return {error: String(error)};
  }
}

async function main() {
  if (backend === 'wasm') {
    plugin.setWasmPaths(path.join(modules, '@tensorflow', 'tfjs-backend-wasm', 'dist') + path.sep);
  }
  if (!await tf.setBackend(backend)) {
    throw new Error('no backend ' + backend);
  }
  const results = [];
  for (const item of JSON.parse(fs.readFileSync(0, 'utf8'))) {
    results.push(await run(item));
  }
  process.stdout.write(JSON.stringify(results));
}

main();
