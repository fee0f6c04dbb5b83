// Drives the pages of Gatehouse in real Chromium, as a person would, and keeps a screenshot of each.
//
//   node signin.mjs AUTHORIZE_URL USERNAME PASSWORD OUT_DIR ACCOUNT_URL DEVICE_URL
//
// It prints one JSON object: where the browser ended, which texts the pages showed, what the keyboard reached.
import { chromium } from 'playwright-core';
import { join } from 'node:path';

const [authorizeURL, username, password, out, accountURL, deviceURL] = process.argv.slice(2);
const report = { pages: {}, problems: [] };

const looks = [
  { name: 'desktop-light', viewport: { width: 1280, height: 800 }, colorScheme: 'light', javaScriptEnabled: true },
  { name: 'desktop-dark', viewport: { width: 1280, height: 800 }, colorScheme: 'dark', javaScriptEnabled: true },
  { name: 'phone-light', viewport: { width: 390, height: 844 }, colorScheme: 'light', javaScriptEnabled: false },
  { name: 'phone-dark', viewport: { width: 390, height: 844 }, colorScheme: 'dark', javaScriptEnabled: false },
];

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});

/** Takes a screenshot and checks what holds for every page. */
async function look(page, name) {
  await page.screenshot({ path: join(out, `${name}.png`), fullPage: true });
  const facts = await page.evaluate(() => ({
    title: document.title,
    lang: document.documentElement.lang,
    h1: [...document.querySelectorAll('h1')].map((e) => e.textContent.trim()),
    text: document.body.innerText,
    sideways: document.documentElement.scrollWidth > window.innerWidth,
    unlabelled: [...document.querySelectorAll('input:not([type=hidden]):not([type=submit]), select, textarea')]
      .filter((e) => !e.labels?.length && !e.getAttribute('aria-label')).map((e) => e.outerHTML),
    nameless: [...document.querySelectorAll('button, a')].filter((e) => !e.textContent.trim() && !e.getAttribute('aria-label')).length,
  }));
  if (facts.lang !== 'en') report.problems.push(`${name}: the page names no language`);
  if (facts.h1.length !== 1) report.problems.push(`${name}: ${facts.h1.length} level-1 headings, want one`);
  if (facts.sideways) report.problems.push(`${name}: the page scrolls sideways`);
  for (const e of facts.unlabelled) report.problems.push(`${name}: field without a label: ${e}`);
  if (facts.nameless) report.problems.push(`${name}: ${facts.nameless} buttons or links without a name`);
  report.pages[name] = facts.text;
}

/** Presses Enter and waits for the page that follows. */
async function enter(page) {
  await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]);
}

/** Reports what the content policy blocked and what the page's own scripts threw. */
function watch(page, name) {
  page.on('console', (m) => {
    // Chromium writes the refusals that this walk provokes (400, 401, 422) to the console.
    const ours = m.location().url.startsWith(new URL(accountURL).origin);
    if (ours && m.type() === 'error' && !/status of (40[01]|422)/.test(m.text())) report.problems.push(`${name}: console: ${m.text()}`);
  });
  page.on('pageerror', (e) => report.problems.push(`${name}: script: ${e}`));
}

for (const { name, ...options } of looks) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  watch(page, name);
  await page.goto(authorizeURL);
  await look(page, `${name}-1-signin`);
  await page.fill('input[name=username]', username);
  await page.fill('input[name=password]', 'certainly wrong');
  await enter(page);
  await look(page, `${name}-2-wrong-password`);
  await page.fill('input[name=username]', username);
  await page.fill('input[name=password]', password);
  await enter(page);
  if (!page.url().includes('/consent')) report.problems.push(`${name}: the sign-in led to ${page.url()}`);
  await look(page, `${name}-3-consent`);
  // With the keyboard alone: the decision is reached by Tab.
  const reached = [];
  for (let i = 0; i < 12; i++) {
    await page.keyboard.press('Tab');
    reached.push(await page.evaluate(() => document.activeElement?.value || document.activeElement?.textContent?.trim() || ''));
  }
  if (!reached.includes('allow')) report.problems.push(`${name}: Tab never reaches the allow button: ${reached}`);
  if (name === 'desktop-light') {
    report.ended = await decide(page);
  }
  await page.goto(accountURL);
  await look(page, `${name}-4-account`);
  await page.goto(new URL('/', accountURL).href);
  await look(page, `${name}-5-home`);
  await page.goto(new URL('/device', accountURL).href);
  await look(page, `${name}-5-device`);
  await page.fill('input[name=user_code]', 'BBBB-BBBB');
  await enter(page);
  await look(page, `${name}-5-device-wrong-code`);
  await page.goto(deviceURL);
  await look(page, `${name}-5-device-consent`);
  if (name === 'phone-dark') await allowDevice(page, name);
  await page.goto(new URL('/signout', accountURL).href);
  await look(page, `${name}-6-signout`);
  await page.goto(authorizeURL.replace(/redirect_uri=[^&]*/, 'redirect_uri=https%3A%2F%2Fevil.example%2F'));
  await look(page, `${name}-7-authorize-error`);
  await context.close();
}

/** Allows the device, first without the box that says that the codes are the same. */
async function allowDevice(page, name) {
  await Promise.all([page.waitForNavigation(), page.click('#device-allow')]);
  await look(page, `${name}-5-device-not-compared`);
  await page.check('#device-same');
  await Promise.all([page.waitForNavigation(), page.click('#device-allow')]);
  await look(page, `${name}-5-device-allowed`);
}

/** Allows, and returns where the browser is sent: the client's callback. */
async function decide(page) {
  await Promise.all([
    page.waitForURL((u) => !u.href.startsWith(new URL(accountURL).origin), { timeout: 15000 }),
    page.click('button[value=allow]'),
  ]);
  return page.url();
}

await passkey();

/** Adds a passkey on the account page, signs out, and signs in with it (a virtual authenticator answers). */
async function passkey() {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  watch(page, 'passkey');
  const cdp = await context.newCDPSession(page);
  await cdp.send('WebAuthn.enable');
  await cdp.send('WebAuthn.addVirtualAuthenticator', { options: {
    protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true,
    automaticPresenceSimulation: true,
  } });
  await page.goto(accountURL);
  await page.fill('input[name=username]', username);
  await page.fill('input[name=password]', password);
  await enter(page);
  await page.click('#passkey-add');
  await page.waitForSelector('.notice.success');
  await look(page, 'passkey-1-added');
  await context.clearCookies();
  await page.goto(accountURL);
  await page.click('#passkey-signin');
  await page.waitForURL(/\/account/);
  await look(page, 'passkey-2-signed-in');
  report.passkey = true;
  await context.close();
}

await browser.close();
console.log(JSON.stringify(report));
