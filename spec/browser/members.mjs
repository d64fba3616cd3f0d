// Holds weft.d.ts to weft.js: the same exports, and for Weft and Room the same public members, but
// for the names with _ . Prints what only one of the two has, and then "done".
import ts from "typescript";

globalThis.WebSocket = class { close() {} };
const real = await import("../../lua/weft/browser/weft.js");
const program = ts.createProgram(["lua/weft/browser/weft.d.ts"], {});
const checker = program.getTypeChecker();
const module = checker.getSymbolAtLocation(program.getSourceFile("lua/weft/browser/weft.d.ts"));
const symbols = new Map(checker.getExportsOfModule(module).map((it) => [it.name, it]));

function members(object) {
  const names = new Set();
  for (let at = object; at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const name of Object.getOwnPropertyNames(at)) names.add(name);
  }
  return [...names].filter((name) => name !== "constructor" && !name.startsWith("_"));
}

const declared = (name) => checker.getPropertiesOfType(checker.getDeclaredTypeOfSymbol(symbols.get(name)))
  .map((it) => it.name).filter((it) => it !== "prototype");

function compare(what, inCode, inTypes) {
  for (const name of inCode) if (!inTypes.includes(name)) console.log(`${what}: ${name} is not in weft.d.ts`);
  for (const name of inTypes) if (!inCode.includes(name)) console.log(`${what}: ${name} is not in weft.js`);
}

const values = [...symbols].filter(([, it]) => it.flags & (ts.SymbolFlags.Class | ts.SymbolFlags.Alias)
  || it.name === "default").map(([name]) => name);
const weft = new real.Weft("http://localhost/weft"), room = weft.subscribe("room");
compare("exports", Object.keys(real), values);
compare("Weft", members(weft), declared("Weft"));
compare("Room", members(room), declared("Room"));
weft.close();
console.log("done");
