// An OpenID provider for tests. It prints its issuer once it listens, lets
// people in as whoever their cookie "login" says, and ends with its standard
// input.
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import { Provider } from 'oidc-provider';

const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
const REDIRECT = 'http://127.0.0.1/callback';

const people = {
  alice: { name: 'Alice Fischer', email: 'alice@example.com', email_verified: true, groups: ['engineers', 'on-call'] },
  bob: { name: 'Bob Okafor', email: 'bob@example.com', email_verified: false, groups: [] },
};

const jwk = (kid, ...args) => ({ ...generateKeyPairSync(...args).privateKey.export({ format: 'jwk' }), kid, use: 'sig' });

const client = (client_id, more) => ({
  client_id,
  application_type: 'native',
  redirect_uris: [REDIRECT],
  response_types: ['code'],
  grant_types: ['authorization_code', DEVICE],
  token_endpoint_auth_method: 'none',
  ...more,
});

const configuration = {
  clients: [
    client('public'),
    client('basic', { token_endpoint_auth_method: 'client_secret_basic', client_secret: 's3cret:+/ %&' }),
    client('post', { token_endpoint_auth_method: 'client_secret_post', client_secret: 's3cret:+/ %&' }),
    client('ps', { id_token_signed_response_alg: 'PS256' }),
    client('es', { id_token_signed_response_alg: 'ES256' }),
    client('ed', { id_token_signed_response_alg: 'EdDSA' }),
    client('no-device', { grant_types: ['authorization_code'] }),
  ],
  jwks: {
    keys: [
      jwk('rsa', 'rsa', { modulusLength: 2048 }),
      jwk('ec', 'ec', { namedCurve: 'P-256' }),
      jwk('ed', 'ed25519'),
    ],
  },
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'] },
  clientAuthMethods: process.env.IDP_AUTH_METHODS?.split(' ') ?? ['client_secret_basic', 'client_secret_post', 'none'],
  claims: { openid: ['sub'], profile: ['name', 'groups'], email: ['email', 'email_verified'] },
  conformIdTokenClaims: process.env.IDP_CLAIMS !== 'token',
  features: {
    deviceFlow: { enabled: true },
    devInteractions: { enabled: false },
    userinfo: { enabled: true },
  },
  pkce: { required: () => true },
  ttl: { DeviceCode: Number(process.env.IDP_DEVICE_TTL ?? 600) },
  cookies: { keys: ['for tests only'] },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_, sub) => (people[sub] ? { accountId: sub, claims: () => ({ sub, ...people[sub] }) } : undefined),
};
if (process.env.IDP_AUTH_METHODS) {
  configuration.clients = configuration.clients.filter((c) => configuration.clientAuthMethods.includes(c.token_endpoint_auth_method));
}

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration);
  const handle = provider.callback();
  server.on('request', (req, res) => {
    if (!req.url.startsWith('/interaction/')) return handle(req, res);
    return interact(provider, req, res).catch((err) => res.writeHead(500).end(err.message));
  });
  console.log(issuer);
});
process.stdin.resume().on('end', () => process.exit(0));

// interact answers a question of the provider: who it is, and yes to whatever
// the client asks for.
async function interact(provider, req, res) {
  const { params, prompt, session } = await provider.interactionDetails(req, res);
  if (prompt.name === 'login') {
    const accountId = /(?:^|; )login=(\w+)/.exec(req.headers.cookie)?.[1];
    return provider.interactionFinished(req, res, { login: { accountId } });
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  return provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } });
}
