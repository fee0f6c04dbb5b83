// An identity provider for the end-to-end tests: npm oidc-provider with its own sign-in pages, which take any password.
//
//   node oidc-provider.mjs '{"port": 3000, "clients": [], "registration": true, "resource": "indicators", "audience": ""}'
//
// resource: "indicators" issues JWTs for the resource that the client names (RFC 8707); "fixed" issues JWTs for one
// audience whatever the client names; "off" knows no resources and issues opaque tokens.
//
// Beside the provider: POST /test/rotate signs with a new key and goes on publishing the old ones; GET /test/fetches says
// how often the key set was read.
import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';
import { createMemoryAdapter } from 'oidc-provider/lib/adapters/memory_adapter.js';

const { port, clients, registration, resource, audience } = JSON.parse(process.argv[2]);
const issuer = `http://localhost:${port}`;
const scope = 'mcp:tools';
const hour = 3600;

const adapter = createMemoryAdapter(); // one for all providers that follow each other, so that a rotation forgets nothing
const cookieKeys = [randomBytes(32).toString('hex')];
const keys = [];
let handle;
let fetches = 0;

function rotate() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  keys.unshift({ ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'RS256' });
  handle = provider().callback();
}

function provider() {
  return new Provider(issuer, {
    adapter,
    clients,
    jwks: { keys },
    cookies: { keys: cookieKeys },
    scopes: ['openid', 'offline_access', scope],
    claims: { openid: ['sub'], profile: ['name', 'preferred_username'], email: ['email', 'email_verified'], groups: ['groups'] },
    rotateRefreshToken: true, // and whoever uses an old one ends the grant
    pkce: { required: (_, client) => client.clientAuthMethod === 'none' },
    ttl: { AccessToken: hour, AuthorizationCode: 60, ClientCredentials: hour, Grant: hour, IdToken: hour, Interaction: hour, RefreshToken: hour, Session: hour },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, name: id, preferred_username: id, email: `${id}@example.com`, email_verified: true, groups: ['eng'] }),
    }),
    features: {
      devInteractions: { enabled: true },
      registration: { enabled: registration },
      introspection: { enabled: true, allowedPolicy: (_, client) => client.clientAuthMethod !== 'none' },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: resource !== 'off',
        defaultResource: (_, __, oneOf) => oneOf ?? audience ?? undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: (_, indicator) => ({
          scope, accessTokenFormat: 'jwt', audience: resource === 'fixed' ? audience : indicator,
        }),
      },
    },
  });
}

rotate();
createServer((req, res) => {
  if (req.url === '/test/rotate') {
    rotate();
    res.end();
  } else if (req.url === '/test/fetches') {
    res.end(String(fetches));
  } else {
    if (req.url === '/jwks') fetches++;
    handle(req, res);
  }
}).listen(port, '127.0.0.1');
