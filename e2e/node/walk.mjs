// Walks through pages of identity providers and of Gatehouse in real Chromium, as a person would, with a screenshot of each.
//
//   node walk.mjs URL STEPS OUT_PREFIX OURS
//
// STEPS is a JSON list of {"fields": {name: value}, "press": text or value of a button, "" for the first of the form}. OURS
// is Gatehouse's origin: what its pages write to the console and what of them needs scrolling sideways is a problem.
// It prints one JSON object: where the browser ended, the text of each page, and the problems.
import { chromium } from 'playwright-core';

const [address, steps, prefix, ours] = process.argv.slice(2);
const report = { pages: [], problems: [], ended: '' };
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-US' });
const page = await context.newPage();
page.on('console', (m) => {
  // Chromium writes refusals, which walks provoke, to the console.
  if (m.location().url.startsWith(ours) && m.type() === 'error' && !/responded with a status of [45]/.test(m.text())) report.problems.push(`console of ${m.location().url}: ${m.text()}`);
});
page.setDefaultTimeout(20000);

/** Takes screenshots of the page: as it is, and Gatehouse's own pages also dark and on a phone. */
async function look() {
  const name = `${prefix}-${report.pages.length + 1}`;
  await page.screenshot({ path: `${name}.png`, fullPage: true });
  report.pages.push(`${page.url()}\n${await page.evaluate(() => document.body.innerText)}`);
  if (!page.url().startsWith(ours)) return;
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.setViewportSize({ width: 390, height: 844 });
  await page.screenshot({ path: `${name}-phone-dark.png`, fullPage: true });
  if (await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth)) report.problems.push(`${page.url()} scrolls sideways on a phone`);
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 1280, height: 800 });
}

try {
  await page.goto(address);
  for (const { fields, press } of JSON.parse(steps)) {
    const names = Object.keys(fields ?? {});
    await page.waitForSelector(names.length ? `[name=${JSON.stringify(names[0])}]` : 'form');
    await look();
    for (const name of names) await page.fill(`[name=${JSON.stringify(name)}]`, fields[name]);
    const text = JSON.stringify(press);
    const button = press
      ? `button[value=${text}], input[type=submit][value=${text}], button:has-text(${text}), a:has-text(${text})`
      : `form:has([name=${JSON.stringify(names[0])}]) >> css=button[type=submit], input[type=submit], button:not([type])`;
    await Promise.all([page.waitForNavigation({ waitUntil: 'load' }), page.locator(button).first().click()]);
  }
  await look();
} catch (e) {
  report.problems.push(`at ${page.url()}: ${e}`);
  await page.screenshot({ path: `${prefix}-problem.png`, fullPage: true }).catch(() => {});
  report.pages.push(await page.evaluate(() => document.body?.innerText ?? '').catch(() => ''));
}
report.ended = page.url();
await browser.close();
console.log(JSON.stringify(report));
