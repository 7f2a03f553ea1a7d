// Checks a letter's receipt: the same checks as diwan/ledger/receipt.py, in a browser and with no network.
// Formats: docs/receipts.md and docs/ledger.md. `verifyByLibrary` is @noble/ed25519's, for browsers without Ed25519.

const SIGNS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ$*+-./:";
const CODE_SIGNS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const PREFIX = "DR1:";
const ED25519 = 1;
const COSIGNATURE = 4;
const MOST_TEXT = 16384;
const MOST_POLICY = 100000;
const MOST_HASHES = 63;
const MOST_SIGNATURES = 32;
const KINDS = {
  "letter:receipt:issued": "in_force",
  "letter:receipt:replaced": "replaced",
  "letter:receipt:withdrawn": "withdrawn",
};

// `code` says what does not hold; the page has its words.
class Refused extends Error {
  constructor(code) {
    super(code);
    this.code = code;
  }
}

const refuse = (code) => {
  throw new Refused(code);
};
const utf8 = (text) => new TextEncoder().encode(text);
const textOf = (bytes) => {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return refuse("malformed");
  }
};
const joined = (...parts) => {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
};
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const same = (one, other) => one.length === other.length && one.every((byte, at) => byte === other[at]);
const base64 = (bytes) => btoa(String.fromCharCode(...bytes));
const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

function unbase64(text) {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4) refuse("malformed");
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  return base64(bytes) === text ? bytes : refuse("malformed");
}

async function hmac(salt, message) {
  const key = await crypto.subtle.importKey("raw", salt, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", key, message));
}

let byBrowser = true;
async function verifies(signature, message, key) {
  if (signature.length !== 64) return false;
  if (byBrowser) {
    try {
      const imported = await crypto.subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
      return await crypto.subtle.verify({ name: "Ed25519" }, imported, signature, message);
    } catch (error) {
      if (error.name === "DataError") return false;
      byBrowser = false; // a browser without Ed25519
    }
  }
  try {
    return await verifyByLibrary(signature, message, key, { zip215: false });
  } catch {
    return false;
  }
}

// --- from text to what it holds ---------------------------------------------------------------------------------------

function bytesOf(text) {
  const bytes = [];
  for (let at = 0; at < text.length; at += 3) {
    const group = text.slice(at, at + 3);
    let value = 0;
    for (let place = group.length - 1; place >= 0; place -= 1) value = value * 43 + SIGNS.indexOf(group[place]);
    const width = group.length - 1;
    if (width < 1 || value >= 256 ** width) refuse("malformed");
    if (width === 2) bytes.push(value >> 8);
    bytes.push(value & 255);
  }
  return Uint8Array.from(bytes);
}

async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const reader = stream.getReader();
  const parts = [];
  let size = 0;
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      size += next.value.length;
      if (size > MOST_TEXT) refuse("malformed");
      parts.push(next.value);
    }
  } catch {
    refuse("malformed");
  }
  return joined(...parts);
}

async function unpack(given) {
  const text = given.replace(/\s+/g, "");
  if (!text.startsWith(PREFIX) || [...text.slice(PREFIX.length)].some((sign) => !SIGNS.includes(sign))) {
    refuse("malformed");
  }
  const whole = bytesOf(text.slice(PREFIX.length));
  const content = whole.slice(0, -8);
  if (whole.length < 9 || !same((await sha256(content)).slice(0, 8), whole.slice(-8))) refuse("misread");
  let at = 0;
  const take = (count) => {
    at += count;
    return at > content.length ? refuse("malformed") : content.slice(at - count, at);
  };
  const number = (width = 1) => take(width).reduce((value, byte) => value * 256 + byte, 0);
  const said = await inflated(take(number(2)));
  const cut = said.indexOf(10);
  if (cut < 0) refuse("malformed");
  const receipt = { header: said.slice(0, cut), facts: said.slice(cut + 1), salt: take(32) };
  receipt.index = number(7);
  receipt.size = number(7);
  receipt.hashes = Array.from({ length: number() }, () => take(32));
  receipt.origin = textOf(take(number()));
  receipt.lines = Array.from({ length: number() }, () => {
    const name = textOf(take(number()));
    const line = take(number());
    if (line.length <= 4 || name === receipt.origin) refuse("malformed");
    return { name: name || receipt.origin, id: hex(line.slice(0, 4)), content: line.slice(4) };
  });
  const names = new Set(receipt.lines.map((line) => `${line.id} ${line.name}`));
  if (at !== content.length || names.size !== receipt.lines.length) refuse("malformed");
  return receipt;
}

// --- whom to trust: c2sp.org/tlog-policy ------------------------------------------------------------------------------

async function keyOf(vkey, type) {
  const [name, id, ...rest] = vkey.split("+");
  const material = unbase64(rest.join("+"));
  if (material.length !== 33 || material[0] !== type || !/^[^\s+\0-\x1f\x7f\x85]{1,200}$/u.test(name)) refuse("policy");
  const expected = (await sha256(joined(utf8(`${name}\n`), material))).slice(0, 4);
  return hex(expected) === id ? { name, id, key: material.slice(1) } : refuse("policy");
}

async function policyOf(text) {
  const policy = { logs: [], witnesses: Object.create(null), groups: Object.create(null), quorum: null };
  // What counts as two must be two: no name, no key and no member of a group stands there twice.
  const [taken, keys, members] = [new Set(["none"]), new Set(), new Set()];
  const once = (among, each) => (among.has(each) ? refuse("policy") : among.add(each) && each);
  const free = (name) => once(taken, name);
  const keyed = async (vkey, type) => {
    const key = await keyOf(vkey, type);
    once(keys, `${type} ${hex(key.key)}`);
    return key;
  };
  const known = (name) => (name in policy.witnesses || name in policy.groups ? name : refuse("policy"));
  if (utf8(text).length > MOST_POLICY || /[\0-\x08\x0b-\x1f\x7f]/.test(text)) refuse("policy");
  try {
    for (const line of text.split("\n")) {
      const words = line.replace(/\t/g, " ").split(" ").filter((word) => word);
      if (!words.length || words[0].startsWith("#")) continue;
      const [what, name, third, ...more] = words;
      if (what === "log" && name && more.length === 0) policy.logs.push(await keyed(name, ED25519));
      else if (what === "witness" && third && more.length < 2) {
        policy.witnesses[free(name)] = await keyed(third, COSIGNATURE);
      } else if (what === "group" && more.length) {
        const needed = third === "any" ? 1 : third === "all" ? more.length : /^[1-9]\d*$/.test(third) ? Number(third) : 0;
        if (needed < 1 || needed > more.length) refuse("policy");
        policy.groups[free(name)] = { needed, members: more.map((member) => once(members, known(member))) };
      } else if (what === "quorum" && name && !third && policy.quorum === null) {
        policy.quorum = name === "none" ? name : known(name);
      } else refuse("policy");
    }
  } catch {
    refuse("policy");
  }
  return policy.logs.length && policy.quorum !== null ? policy : refuse("policy");
}

async function checkSigned(note, lines, policy) {
  let signed = 0;
  for (const log of policy.logs) {
    const line = lines.find((each) => each.name === log.name && each.id === log.id);
    if (!line) continue;
    if (log.name !== note.split("\n")[0] || !(await verifies(line.content, utf8(note), log.key))) refuse("signature");
    signed += 1;
  }
  if (!signed) refuse("other_log");
  const seen = new Set();
  for (const [name, witness] of Object.entries(policy.witnesses)) {
    const line = lines.find((each) => each.name === witness.name && each.id === witness.id);
    if (!line) continue;
    const seconds = line.content.slice(0, 8).reduce((value, byte) => value * 256n + BigInt(byte), 0n);
    const message = utf8(`cosignature/v1\ntime ${seconds}\n${note}`);
    const timed = seconds > 0n && seconds < 2n ** 63n;
    if (!timed || !(await verifies(line.content.slice(8), message, witness.key))) refuse("signature");
    seen.add(name);
  }
  const agreed = (name) => {
    const group = policy.groups[name];
    return group ? group.members.filter(agreed).length >= group.needed : name === "none" || seen.has(name);
  };
  if (!agreed(policy.quorum)) refuse("witnesses");
}

// --- what it shows ----------------------------------------------------------------------------------------------------

// RFC 9162, section 2.1.3.2: the root that the tree has if this entry is where it says.
async function rootBy(index, size, leaf, hashes) {
  const node = (left, right) => sha256(joined(Uint8Array.of(1), left, right));
  if (!(index < size) || size > Number.MAX_SAFE_INTEGER) refuse("not_included");
  let [at, last, now] = [index, size - 1, leaf];
  const up = () => [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
  for (const beside of hashes) {
    if (last === 0) refuse("not_included");
    if (at % 2 || at === last) {
      now = await node(beside, now);
      while (at % 2 === 0 && at) up();
    } else now = await node(now, beside);
    up();
  }
  return last === 0 ? now : refuse("not_included");
}

async function noteOver(origin, size, index, header, hashes) {
  const leaf = await sha256(joined(Uint8Array.of(0), header));
  return `${origin}\n${size}\n${base64(await rootBy(index, size, leaf, hashes))}\n`;
}

const chainOf = async (code) => `receipts/${hex(await sha256(utf8(`diwan letter ${code}`))).slice(0, 32)}`;

function json(bytes) {
  try {
    return JSON.parse(textOf(bytes));
  } catch {
    return refuse("malformed");
  }
}

/** What a receipt shows to whoever trusts this policy (text). Throws `Refused`. */
async function checkReceipt(text, policyText) {
  const policy = await policyOf(policyText);
  const receipt = await unpack(text);
  const { origin, size, index, hashes, lines } = receipt;
  await checkSigned(await noteOver(origin, size, index, receipt.header, hashes), lines, policy);
  const header = json(receipt.header);
  if (header.kind !== "letter:receipt:issued" || header.seq !== 1) refuse("other_entry");
  const commitment = hex(await hmac(receipt.salt, await sha256(receipt.facts)));
  if (header.detail?.facts !== commitment) refuse("facts");
  const facts = json(receipt.facts);
  if (facts.v !== 1 || header.chain !== (await chainOf(facts.code))) refuse("facts");
  return { facts, at: header.at, tenant: header.tenant, origin, size, index };
}

/** Whether `file` (bytes) is the letter, byte for byte. */
const isLetter = async (checked, file) => hex(await sha256(file)) === checked.facts.pdf;

/** A code as somebody typed it, in its one spelling; empty where it is none. */
function readCode(text) {
  const signs = text
    .toUpperCase()
    .replace(/[-\s\u2010\u2011\u200e\u200f\u2066-\u2069]/g, "")
    .replace(/[IL]/g, "1")
    .replace(/O/g, "0");
  if (signs.length !== 20 || [...signs].some((sign) => !CODE_SIGNS.includes(sign))) return "";
  const number = [...signs].reduce((value, sign) => value * 32n + BigInt(CODE_SIGNS.indexOf(sign)), 0n);
  return number % 1021n ? "" : signs.match(/.{5}/g).join("-");
}

/** What the service's answer shows of the letter with this code. Throws `Refused`. */
async function checkAnswer(answer, code, policyText) {
  if (answer.status === "unknown") return { status: "unknown" };
  const policy = await policyOf(policyText);
  const proof = String(answer.proof);
  const [head, body, signed, ...more] = proof.split("\n\n");
  if (more.length || !signed?.endsWith("\n") || /[\0-\x09\x0b-\x1f]/.test(proof)) refuse("malformed");
  const lines = head.split("\n");
  if (lines[0] !== "c2sp.org/tlog-proof@v1" || !lines[1]?.startsWith("extra ")) refuse("malformed");
  const header = unbase64(lines[1].slice(6));
  const index = Number(/^index (0|[1-9]\d{0,15})$/.exec(lines[2])?.[1] ?? refuse("malformed"));
  const hashes = lines.slice(3).map(unbase64);
  if (hashes.length > MOST_HASHES || hashes.some((each) => each.length !== 32)) refuse("malformed");
  const [origin, size, root, ...extended] = body.split("\n");
  const note = await noteOver(origin, Number(size), index, header, hashes);
  if (extended.length || note !== `${origin}\n${size}\n${root}\n`) refuse("not_included");
  const signatures = signed.slice(0, -1).split("\n").map((line) => {
    const [dash, name, content, ...others] = line.split(" ");
    if (dash !== "—" || !name || !content || others.length) refuse("malformed");
    const bytes = unbase64(content);
    return bytes.length > 4 ? { name, id: hex(bytes.slice(0, 4)), content: bytes.slice(4) } : refuse("malformed");
  });
  const names = new Set(signatures.map((line) => `${line.id} ${line.name}`));
  if (signatures.length > MOST_SIGNATURES || names.size < signatures.length) refuse("malformed");
  await checkSigned(note, signatures, policy);
  const said = json(header);
  if (said.chain !== (await chainOf(code)) || KINDS[said.kind] !== answer.status) refuse("other_entry");
  const checked = await checkReceipt(String(answer.receipt), policyText);
  if (checked.facts.code !== code) refuse("other_entry");
  return { status: answer.status, since: said.at, size: Number(size), checked };
}
