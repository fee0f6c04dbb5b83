// An unmodified TypeScript SDK client, of the version named first, that signs in, refreshes, and steps up. It prints
// OPEN and an address for the person to go to, and at the end REPORT and what it found.
//
//   node sdk.mjs 1|2 SERVER_URL CALLBACK_PORT OPTIONS_JSON
//
// Options: metadataUrl, clientInformation, key (a private JWK with alg), refresh (false for a client without it),
// scoped (a tool that needs one more scope).
import http from 'node:http';

const [version, server, port, json] = process.argv.slice(2);
const options = JSON.parse(json);
const redirectUrl = `http://127.0.0.1:${port}/callback`;

const sdk = version === '1'
  ? {
      ...(await import('@modelcontextprotocol/sdk/client/index.js')),
      ...(await import('@modelcontextprotocol/sdk/client/streamableHttp.js')),
      ...(await import('@modelcontextprotocol/sdk/client/auth.js')),
      ...(await import('@modelcontextprotocol/sdk/client/auth-extensions.js')),
    }
  : await import('@modelcontextprotocol/client');

// The loopback listener of a native client (RFC 8252 §7.3): one answer at a time.
let arrived;
const listener = http.createServer((req, res) => {
  res.end('You may close this window.');
  arrived?.(new URL(req.url, redirectUrl).searchParams);
}).listen(Number(port), '127.0.0.1');

const seen = { refreshTokens: [], signIns: 0, registrations: 0, answers: [] };
const provider = {
  redirectUrl,
  clientMetadataUrl: options.metadataUrl,
  clientMetadata: {
    client_name: `SDK ${version}`, redirect_uris: [redirectUrl], token_endpoint_auth_method: 'none',
    grant_types: options.refresh === false ? ['authorization_code'] : ['authorization_code', 'refresh_token'],
  },
  state: () => crypto.randomUUID(),
  clientInformation: () => seen.client ?? options.clientInformation,
  saveClientInformation(info) {
    seen.client = info;
    seen.registrations++;
  },
  tokens: () => seen.tokens,
  saveTokens(tokens) {
    seen.tokens = tokens;
    if (tokens.refresh_token && !seen.refreshTokens.includes(tokens.refresh_token)) seen.refreshTokens.push(tokens.refresh_token);
  },
  saveCodeVerifier: (v) => { seen.verifier = v; },
  codeVerifier: () => seen.verifier,
  saveDiscoveryState: (state) => { seen.discovery = state; },
  discoveryState: () => seen.discovery,
  redirectToAuthorization(url) {
    seen.signIns++;
    seen.asked = url.searchParams.get('scope');
    console.log(`OPEN ${url}`);
  },
};
if (options.key) {
  provider.addClientAuthentication = sdk.createPrivateKeyJwtAuth({
    issuer: options.metadataUrl, subject: options.metadataUrl, privateKey: options.key, alg: options.key.alg,
  });
}

// once tries, and when the SDK wants the person, waits for the answer and tries again.
async function once(attempt, transport) {
  const answer = new Promise((resolve) => { arrived = resolve; });
  try {
    return await attempt();
  } catch (e) {
    if (!(e instanceof sdk.UnauthorizedError)) throw e;
  }
  const params = await answer;
  seen.answers.push(Object.fromEntries([...params].filter(([name]) => name !== 'code')));
  if (version === '1') await transport().finishAuth(params.get('code'));
  else await transport().finishAuth(params);
  return await attempt();
}

let transport, client;
async function connect() {
  transport = new sdk.StreamableHTTPClientTransport(new URL(server), { authProvider: provider });
  client = new sdk.Client({ name: `sdk-${version}`, version: '1' });
  await client.connect(transport);
}
const call = async (name) => (await client.callTool({ name, arguments: {} })).content?.[0]?.text ?? '';

const report = {};
try {
  await once(connect, () => transport);
  report.tools = (await client.listTools()).tools.map((t) => t.name);
  report.whoami = await call('demo___whoami');
  if (options.refresh !== false) {
    for (let i = 0; i < 3; i++) { // a token that the server refuses, as when it has expired
      seen.tokens = { ...seen.tokens, access_token: 'no-longer-good' };
      await call('demo___whoami');
    }
  }
  report.afterRefresh = { signIns: seen.signIns, refreshTokens: seen.refreshTokens.length };
  if (options.scoped) {
    report.stepUp = await once(() => call(options.scoped), () => transport);
    report.askedForStepUp = seen.asked;
    report.again = await call('demo___whoami');
  }
  report.scope = seen.tokens.scope;
  report.clientId = provider.clientInformation()?.client_id;
  report.registrations = seen.registrations;
  report.signIns = seen.signIns;
  report.answers = seen.answers;
} catch (e) {
  report.error = `${e?.stack ?? e}`;
}
console.log(`REPORT ${JSON.stringify(report)}`);
await client?.close().catch(() => {});
listener.close();
listener.closeAllConnections();
process.exit(0);
