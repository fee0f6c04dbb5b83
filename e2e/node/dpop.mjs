// A client that binds its tokens to a key, made with a library that knows nothing of Gatehouse (oauth4webapi).
//
//   node dpop.mjs MCP_URL REDIRECT_URI
//
// It prints the address to sign in at as a line of JSON, reads the address that the browser came back to as a line, and
// prints what it could and could not do as a second line of JSON.
import * as oauth from 'oauth4webapi';
import { createInterface } from 'node:readline';

const [mcp, redirectURI] = process.argv.slice(2);
const local = { [oauth.allowInsecureRequests]: true }; // http, on this machine alone
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const url = new URL(mcp);
const resource = await oauth.processResourceDiscoveryResponse(url, await oauth.resourceDiscoveryRequest(url, local));
const issuer = new URL(resource.authorization_servers[0]);
const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { ...local, algorithm: 'oauth2' }));
const client = await oauth.processDynamicClientRegistrationResponse(await oauth.dynamicClientRegistrationRequest(as, {
  client_name: 'Bound', redirect_uris: [redirectURI], token_endpoint_auth_method: 'none',
  grant_types: ['authorization_code', 'refresh_token'], dpop_bound_access_tokens: true,
}, local));

const DPoP = oauth.DPoP(client, await oauth.generateKeyPair('ES256'));
const verifier = oauth.generateRandomCodeVerifier();
const state = oauth.generateRandomState();
const authorize = new URL(as.authorization_endpoint);
for (const [name, value] of Object.entries({
  client_id: client.client_id, redirect_uri: redirectURI, response_type: 'code', state, resource: resource.resource,
  scope: resource.scopes_supported.join(' '), code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256', dpop_jkt: await DPoP.calculateThumbprint(),
})) authorize.searchParams.set(name, value);
console.log(JSON.stringify({ authorize: authorize.href }));

const callback = new URL((await lines.next()).value);
const params = oauth.validateAuthResponse(as, client, callback, state);

/** Does as the server says when it wants a nonce. */
async function patiently(send, read) {
  try {
    return await read(await send());
  } catch (e) {
    if (!oauth.isDPoPNonceError(e)) throw e;
    nonces++;
    return await read(await send());
  }
}
let nonces = 0;

const options = { ...local, DPoP, additionalParameters: { resource: resource.resource } };
const tokens = await patiently(
  () => oauth.authorizationCodeGrantRequest(as, client, oauth.None(), params, redirectURI, verifier, options),
  (response) => oauth.processAuthorizationCodeResponse(as, client, response));

const body = JSON.stringify({
  jsonrpc: '2.0', id: 1, method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'bound', version: '1' } },
});
const headers = () => new Headers({ 'Content-Type': 'application/json', Accept: 'application/json, text/event-stream' });
const call = (token) => patiently(
  () => oauth.protectedResourceRequest(token, 'POST', url, headers(), body, { ...local, DPoP }),
  async (response) => ({ status: response.status, text: await response.text() }));
const first = await call(tokens.access_token);

const refreshed = await patiently(
  () => oauth.refreshTokenGrantRequest(as, client, oauth.None(), tokens.refresh_token, { ...local, DPoP }),
  (response) => oauth.processRefreshTokenResponse(as, client, response));
const second = await call(refreshed.access_token);

const plain = await fetch(url, { method: 'POST', headers: { ...Object.fromEntries(headers()), Authorization: `Bearer ${tokens.access_token}` }, body });
console.log(JSON.stringify({
  type: tokens.token_type, first, second, nonces,
  algs: [as.dpop_signing_alg_values_supported, resource.dpop_signing_alg_values_supported],
  bearer: { status: plain.status, challenge: plain.headers.get('www-authenticate') },
}));
process.exit(0);
