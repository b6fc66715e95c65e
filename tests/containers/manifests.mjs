// Holds Kubernetes manifests against the API's schema: node manifests.mjs FILE…
//
// Types and required fields are checked by kubernetes-models; fields that the API doesn't have are found with the models of
// Kubernetes' own client, which drops them. Run in a directory in which npm installed both, and js-yaml.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const yaml = require("js-yaml");
const { ObjectSerializer } = await import(process.cwd() + "/node_modules/@kubernetes/client-node/dist/serializer.js");

const wrong = [];

function compare(given, kept, path) {
        if (given === null || typeof given !== "object") return;
        for (const key of Object.keys(given))
                if (kept?.[key] === undefined) wrong.push(`${path}/${key}: the API has no such field`);
                else compare(given[key], kept[key], `${path}/${key}`);
}

let count = 0;
for (const file of process.argv.slice(2))
        for (const document of yaml.loadAll(readFileSync(file, "utf8"))) {
                const place = `${file}: ${document.kind} ${document.metadata?.name}`;
                const Model = require(`kubernetes-models/${document.apiVersion}/${document.kind}`)[document.kind];
                try {
                        new Model(structuredClone(document)).validate();
                } catch (error) {
                        wrong.push(`${place}: ${error.message}`);
                }
                const version = document.apiVersion.split("/").pop();
                const type = version[0].toUpperCase() + version.slice(1) + document.kind;
                compare(document, ObjectSerializer.serialize(ObjectSerializer.deserialize(structuredClone(document), type), type),
                        place);
                count++;
        }
for (const line of wrong) console.log(line);
console.log(`${count} manifests, ${wrong.length} faults`);
process.exit(wrong.length || !count ? 1 : 0);
