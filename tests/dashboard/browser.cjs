// Scenarios for a headless Chromium: `node browser.cjs SCENARIO JSON`. Says what it has seen as lines of JSON; where a scenario needs something
// to happen outside, it waits for a line on its standard input.
"use strict";
const { chromium } = require("playwright-core");
const { AxeBuilder } = require("@axe-core/playwright");
const fs = require("fs");
const readline = require("readline");

const [, , scenario, json] = process.argv;
const given = JSON.parse(json);
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const outside = async (value) => { say(value); await lines.next(); };
const assert = (so, what) => { if (!so) throw new Error(what); };
const console_ = [], elsewhere = [];
let expected = () => false;

const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"];
const program = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((path) => fs.existsSync(path));

// A context whose console and requests are watched.
async function context(browser, options) {
  const made = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  made.on("request", (request) => { if (!request.url().startsWith(given.url) && !/^(data|about|blob):/.test(request.url())) elsewhere.push(request.url()); });
  made.on("console", (message) => { if (message.type() === "error" && !expected(message.text())) console_.push(message.text()); });
  made.on("weberror", (error) => console_.push(String(error.error())));
  return made;
}

async function signIn(page, name) {
  await page.goto(given.url + "/");
  await page.fill("#name", name);
  await page.fill("#password", given.password);
  await Promise.all([page.waitForURL((url) => url.pathname !== "/sign-in"), page.click("button.first")]);
}

const scenarios = {
  // Every page, in light and dark, wide and at 400 px: accessibility, width, weight.
  async tour(browser) {
    for (const scheme of ["light", "dark"]) {
      const made = await context(browser, { colorScheme: scheme });
      const page = await made.newPage();
      const outer = async (name) => {
        const found = await new AxeBuilder({ page }).withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]).analyze();
        const violations = found.violations.map((one) => ({ id: one.id, nodes: one.nodes.slice(0, 3).map((node) => node.html.slice(0, 200) + " " + (node.failureSummary || "").slice(0, 300)) }));
        say({ page: name, scheme, width: page.viewportSize().width, violations });
      };
      await page.goto(given.url + "/sign-in");
      await outer("/sign-in");
      await signIn(page, given.user);
      for (const path of given.pages) {
        let bytes = 0;
        const weigh = async (response) => { if (response.url().startsWith(given.url)) bytes += (await response.body().catch(() => "")).length; };
        for (const width of [1280, 400]) {
          await page.setViewportSize({ width, height: 900 });
          if (width === 1280) page.on("response", weigh);
          const answer = await page.goto(given.url + path, { waitUntil: "load" });
          page.off("response", weigh);
          const size = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
          await page.$$eval("details", (all) => all.forEach((node) => { node.open = true; }));
          const open = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
          say({ path, scheme, width, status: answer.status(), bytes, scroll: size[0] - size[1], open: open[0] - open[1] });
          await outer(path);
          if (given.pictures) await page.screenshot({ path: `${given.pictures}/${path.replace(/\W+/g, "_")}-${scheme}-${width}.png`, fullPage: true });
        }
      }
      await made.close();
    }
  },

  // What charts, figures and lists say, to be held against the API.
  async values(browser) {
    const page = await (await context(browser)).newPage();
    await signIn(page, given.user);
    const charts = await page.$$eval("figure.chart", (all) => all.map((chart) => ({
      ...chart.dataset,
      points: [...chart.querySelectorAll(".hover rect")].map((rect) => [rect.dataset.time, Number(rect.dataset.value), rect.querySelector("title").textContent]),
    })));
    const figures = await page.$$eval("[data-figure]", (all) => Object.fromEntries(all.map((one) => [one.dataset.figure, one.textContent.replace(/\u202f/g, "")])));
    const state = await page.textContent("h1.state");
    say({ charts, figures, state });
    await page.goto(given.url + "/alerts?status=all");
    say({ alerts: await page.$$eval("[data-row]", (all) => all.map((row) => [row.dataset.id, row.querySelector(".why").textContent])) });
    await page.click("[data-row] .why");
    say({ record: JSON.parse(await page.textContent("#alert-json")), sentence: await page.textContent("#sentence"), score: await page.textContent("[data-figure=score]"), reasons: await page.$$eval(".reasons li", (all) => all.map((one) => one.dataset.code)) });
    await page.goto(given.url + "/sources");
    say({ sources: await page.$$eval("[data-source]", (all) => all.map((row) => [row.dataset.source, Number(row.querySelector("[data-day]").dataset.day)])) });
    await page.goto(given.url + "/models");
    say({ models: await page.$$eval("[data-version]", (all) => all.map((one) => one.dataset.version)) });
    await page.goto(given.url + "/destinations");
    say({ destinations: await page.$$eval("[data-destination]", (all) => all.map((one) => [one.dataset.destination, one.querySelector(".figure dd").textContent])) });
  },

  // j and k move, a and f judge, x marks; the list changes by itself.
  async keys(browser) {
    const page = await (await context(browser)).newPage();
    await signIn(page, given.user);
    await page.goto(given.url + "/alerts");
    const ids = await page.$$eval("[data-row]", (all) => all.map((row) => row.dataset.id));
    const here = () => page.$eval("[data-row].here", (row) => row.dataset.id);
    const said = (id) => page.waitForSelector(`[data-row][data-id="${id}"] .said`);
    await page.keyboard.press("j");
    assert((await here()) === ids[0], "j goes to the first");
    await page.keyboard.press("j");
    await page.keyboard.press("k");
    await page.keyboard.press("a");
    await said(ids[0]);
    await page.keyboard.press("j");
    assert((await here()) === ids[1], "j goes on from there");
    await page.keyboard.press("f");
    await said(ids[1]);
    say({ trouble: ids[0], false_alarm: ids[1] });
    // one that is marked, with the button for all
    await page.keyboard.press("j");
    await page.keyboard.press("x");
    await page.check(`[data-id="${ids[3]}"] input[type=checkbox]`);
    await Promise.all([page.waitForNavigation(), page.click('.bulk button[value="expected"]')]);
    await said(ids[2]); await said(ids[3]);
    say({ expected: [ids[2], ids[3]] });
    // Enter opens; on the page of one alert the same keys judge it
    await page.keyboard.press("j");
    await Promise.all([page.waitForURL(/\/alerts\/al_/), page.keyboard.press("Enter")]);
    await Promise.all([page.waitForNavigation(), page.keyboard.press("f")]);
    await page.waitForSelector("#said b:has-text('false alarm')");
    // keys can be switched off, and letters in a field are letters
    await page.goto(given.url + "/alerts");
    await page.fill("#type", "");
    await page.focus("#type");
    await page.keyboard.type("jaf");
    assert((await page.inputValue("#type")) === "jaf", "letters stay letters");
    await page.click("#keys");
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press("j");
    assert((await page.$$("[data-row].here")).length === 0, "keys are off");
    await page.goto(given.url + "/alerts");
    const before = (await page.$$("[data-row]")).length;
    await outside({ rows: before });
    await page.waitForFunction((n) => document.querySelectorAll("[data-row]").length > n, before, { timeout: 20000 });
    say({ live: true });
  },

  // Everything again without a script.
  async plain(browser) {
    const page = await (await context(browser, { javaScriptEnabled: false })).newPage();
    await signIn(page, given.user);
    await page.click("nav >> text=Alerts");
    await page.selectOption("#status", "all");
    await page.fill("#type", "order.completed");
    await Promise.all([page.waitForNavigation(), page.click(".filters button")]);
    assert(page.url().includes("type=order.completed") && page.url().includes("status=all"), "filters stand in the address");
    const id = await page.$eval("[data-row]", (row) => row.dataset.id);
    await page.click("[data-row] .why");
    await page.fill("#reason", "a gift card");
    await Promise.all([page.waitForNavigation(), page.click("#judge button[value=false_positive]")]);
    const said = await page.textContent("#said");
    await Promise.all([page.waitForNavigation(), page.click("text=Take on")]);
    const taken = await page.textContent("#said");
    say({ id, said, taken });
    for (const path of ["/sources", "/models", "/destinations", "/settings", "/health"]) {
      await page.goto(given.url + path);
      assert(await page.isVisible("text=Look again"), `${path}: a link in place of the script`);
    }
    await Promise.all([page.waitForURL(/\/sign-in/), page.click("text=Sign out")]);
    await page.goto(given.url + "/alerts");
    say({ after: new URL(page.url()).pathname });
  },

  // Wrong password, then who may only look.
  async viewer(browser) {
    expected = (text) => /401|403/.test(text);
    const page = await (await context(browser)).newPage();
    await page.goto(given.url + "/");
    await page.fill("#name", given.user);
    await page.fill("#password", "not the password");
    await page.click("button.first");
    const wrong = await page.textContent("[role=alert]");
    await signIn(page, given.user);
    await page.goto(given.url + "/alerts");
    const buttons = await page.$$eval("[name=verdict], [name=id]", (all) => all.length);
    await page.keyboard.press("j");
    await page.keyboard.press("a");
    const id = await page.$eval("[data-row]", (row) => row.dataset.id);
    const forced = await page.evaluate(async (id) => {
      const token = document.querySelector("[data-token]").dataset.token;
      return (await fetch("/alerts/verdict", { method: "POST", body: new URLSearchParams({ token, id, verdict: "true_positive", back: "/" }) })).status;
    }, id);
    say({ wrong, buttons, forced, id });
  },

  // No event yet; then the first, with the command that stands there.
  async first(browser) {
    const page = await (await context(browser)).newPage();
    await signIn(page, given.user);
    const title = await page.textContent("h1");
    for (const path of ["/alerts", "/sources", "/models", "/destinations", "/settings", "/health"]) {
      const answer = await page.goto(given.url + path);
      assert(answer.status() === 200, path);
    }
    await page.goto(given.url + "/");
    await Promise.all([page.waitForNavigation(), page.click("text=Make a key for it")]);
    const command = await page.textContent("#curl");
    await page.goto(given.url + "/");
    await outside({ title, command });
    await page.waitForSelector("h1:has-text('All is well')", { timeout: 20000 });
    say({ title: await page.textContent("h1") });
  },

  // The store goes away and comes back.
  async away(browser) {
    expected = (text) => /503|Failed to load/.test(text);
    const made = await context(browser);
    const page = await made.newPage();
    await signIn(page, given.user);
    const rows = (await page.$$("[data-row]")).length;
    await outside({ rows });
    await page.waitForSelector("#trouble:not([hidden])", { timeout: 20000 });
    const banner = await page.textContent("#trouble");
    const kept = (await page.$$("[data-row]")).length;
    const other = await made.newPage();
    const answer = await other.goto(given.url + "/alerts");
    const found = await new AxeBuilder({ page: other }).withTags(["wcag2a", "wcag2aa"]).analyze();
    const health = (await (await made.newPage()).goto(given.url + "/health")).status();
    if (given.pictures) await other.screenshot({ path: `${given.pictures}/away.png` });
    await outside({ banner, kept, status: answer.status(), title: await other.textContent("h1"), retry: answer.headers()["retry-after"], violations: found.violations.map((one) => one.id), health });
    await other.waitForSelector("[data-row]", { timeout: 20000 });
    await page.waitForSelector("#trouble", { state: "hidden", timeout: 20000 });
    say({ back: true });
  },

  // The store is behind.
  async busy(browser) {
    const page = await (await context(browser)).newPage();
    await signIn(page, given.user);
    await outside({ behind: (await page.$$("#behind")).length });
    await page.waitForSelector("#behind", { timeout: 30000 });
    const found = await new AxeBuilder({ page }).withTags(["wcag2a", "wcag2aa"]).analyze();
    const lag = Number(await page.$eval("#behind", (note) => note.dataset.lag));
    const text = await page.textContent("#behind");
    if (given.pictures) await page.screenshot({ path: `${given.pictures}/busy.png` });
    await outside({ lag, text, violations: found.violations.map((one) => one.id) });
    await page.waitForSelector("#behind", { state: "detached", timeout: 60000 });
    say({ caught_up: true });
  },

  // Destinations: a test, a new secret, the attempts.
  async destination(browser) {
    const page = await (await context(browser)).newPage();
    await signIn(page, given.user);
    await page.goto(given.url + "/destinations");
    await page.click(`[data-destination="${given.id}"] h2 a`);
    await Promise.all([page.waitForNavigation(), page.click("text=Send a test")]);
    const outcome = await page.textContent("#outcome");
    await Promise.all([page.waitForNavigation(), page.click("text=New secret")]);
    const secret = await page.textContent("#secret");
    await page.goto(`${given.url}/destinations/${given.id}`);
    const attempts = await page.$$eval("[data-attempt]", (all) => all.map((row) => Number(row.dataset.attempt)));
    say({ outcome, secret, attempts, shown: (await page.content()).includes(secret) });
  },
};

(async () => {
  const browser = await chromium.launch({ executablePath: program, args: FLAGS });
  try {
    await scenarios[scenario](browser);
    say({ console: console_, elsewhere });
  } finally {
    await browser.close();
  }
  process.exit(0);
})().catch((error) => { console.error(error); process.exit(1); });
