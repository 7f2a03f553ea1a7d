// The page around receipt.js: its words in three languages, what is put in, what is said.

const given = JSON.parse(document.getElementById("given").textContent);
const ENDED = ["replaced", "withdrawn"];
const element = (id) => document.getElementById(id);
let language = given.words[navigator.language?.slice(0, 2)] ? navigator.language.slice(0, 2) : given.language;
let last = () => {};

const say = (key) => given.words[language][key] ?? key;

function speak(chosen) {
  language = chosen;
  document.documentElement.lang = language;
  document.documentElement.dir = language === "ar" ? "rtl" : "ltr";
  document.title = say("title");
  for (const each of document.querySelectorAll("[data-say]")) each.textContent = say(each.dataset.say);
  for (const each of document.querySelectorAll("[data-language]")) {
    each.setAttribute("aria-pressed", String(each.dataset.language === language));
  }
  last();
}

function answer(good, heading, lines, facts) {
  const place = element("answer");
  last = () => {
    place.replaceChildren();
    place.className = good ? "good" : "bad";
    const head = document.createElement("h2");
    head.textContent = say(heading);
    place.append(head);
    for (const line of lines) {
      const paragraph = document.createElement("p");
      paragraph.textContent = say(line);
      place.append(paragraph);
    }
    const list = document.createElement("dl");
    for (const [label, value] of facts) {
      const [term, text] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = say(label);
      text.dir = "auto";
      text.textContent = typeof value === "function" ? value() : value;
      list.append(term, text);
    }
    if (facts.length) place.append(list);
  };
  last();
  place.focus();
}

const day = (date) => new Intl.DateTimeFormat(`${language}-MA-u-nu-latn`, { dateStyle: "long", timeZone: "UTC" }).format(date);

const factsOf = (checked) => [
  ["fact_title", () => say(checked.facts.result ? `title_decision_${checked.facts.result}` : `title_${checked.facts.kind}`)],
  ["fact_number", checked.facts.number],
  ["fact_date", () => day(new Date(`${checked.facts.date}T00:00:00Z`))],
  ["fact_office", checked.facts.office],
  ["fact_code", checked.facts.code],
  ["fact_log", `${checked.origin} (${checked.index + 1}/${checked.size})`],
];

async function contentOf(file) {
  if (file.type.startsWith("image/")) {
    if (!("BarcodeDetector" in window)) refuse("no_pictures");
    const found = await new BarcodeDetector({ formats: ["qr_code"] }).detect(await createImageBitmap(file));
    return found.find((each) => each.rawValue.startsWith(PREFIX))?.rawValue ?? refuse("none");
  }
  const bytes = new Uint8Array(await file.arrayBuffer());
  const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  if (text.trimStart().startsWith(PREFIX)) return text;
  const found = new Set(text.match(/DR1:[0-9A-Z$*+\-./:]+/g));
  return found.size === 1 ? [...found][0] : refuse("none");
}

// What is to be said of the letter's own file: whoever chose one relies on its being the letter that is shown.
async function comparedWith(checked) {
  const letter = element("letter-file").files[0];
  if (!letter) return "compare";
  return (await isLetter(checked, new Uint8Array(await letter.arrayBuffer()))) ? "same_letter" : refuse("letter");
}

async function checkOffline(text) {
  const checked = await checkReceipt(text, element("policy").value);
  const lines = [await comparedWith(checked), "not_asked"];
  if (checked.facts.sample) lines.unshift("sample");
  element("code").value = checked.facts.code;
  answer(!checked.facts.sample, "genuine", lines, factsOf(checked));
}

async function checkOnline() {
  const code = readCode(element("code").value) || refuse("code");
  let said;
  try {
    const answered = await fetch(`${given.online}/ledger/receipts/${code}`, { credentials: "omit", referrerPolicy: "no-referrer" });
    if (!answered.ok) throw new Error(String(answered.status));
    said = await answered.json();
  } catch {
    refuse("unreachable");
  }
  if (said.status !== "unknown" && !said.receipt) {
    if (!ENDED.includes(said.status)) refuse(said.status === "in_force" ? "not_yet" : "malformed");
    // That a letter fell is worth hearing a second before the log shows it.
    return answer(false, `stands_${said.status}`, [`stands_${said.status}_more`, "not_proved"], []);
  }
  const shown = await checkAnswer(said, code, element("policy").value);
  const good = shown.status === "in_force" && !shown.checked.facts.sample;
  const lines = [`stands_${shown.status}_more`];
  if (shown.checked) lines.push(await comparedWith(shown.checked));
  if (shown.checked?.facts.sample) lines.unshift("sample");
  const facts = shown.checked ? [...factsOf(shown.checked), ["fact_since", () => day(new Date(shown.since))]] : [];
  return answer(good, `stands_${shown.status}`, lines, facts);
}

async function attempt(work) {
  try {
    await work();
  } catch (error) {
    const code = error instanceof Refused ? error.code : "too_old";
    answer(false, code === "too_old" || code === "unreachable" || code === "not_yet" ? "undecided" : "refused", [`refused_${code}`], []);
  }
}

element("policy").value = given.policy;
element("online-form").hidden = !given.online;
element("receipt-form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const file = element("receipt-file").files[0];
    if (file) element("receipt-text").value = await contentOf(file);
    await checkOffline(element("receipt-text").value);
  });
});
element("online-form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(checkOnline);
});
for (const each of document.querySelectorAll("[data-language]")) {
  each.addEventListener("click", () => speak(each.dataset.language));
}
speak(language);
// A receipt may come with the address, behind its #, which no browser sends to anybody.
if (decodeURIComponent(location.hash).startsWith(`#${PREFIX}`)) {
  element("receipt-text").value = decodeURIComponent(location.hash.slice(1));
  attempt(() => checkOffline(element("receipt-text").value));
}
