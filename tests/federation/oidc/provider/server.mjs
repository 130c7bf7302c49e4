// An OpenID provider on https://localhost for tests: panva's oidc-provider with its own pages, people and claims.
//   node server.mjs SETTINGS     a JSON file, see server.py; says its issuer, then each answer of the token endpoint
// It ends with its standard input, so that none outlives who started it.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { parse } from 'node:querystring';

import Provider from 'oidc-provider';

const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';
const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const server = createServer({ cert: readFileSync(settings.cert), key: readFileSync(settings.key) });
server.listen(settings.port, '127.0.0.1');
await once(server, 'listening');
const issuer = `https://localhost:${server.address().port}`;

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const signing = { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'RS256', use: 'sig' };

const provider = new Provider(issuer, {
  clients: [{
    client_id: settings.client,
    client_name: 'inbond',
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    grant_types: [DEVICE_GRANT],
    response_types: [],
    redirect_uris: [],
  }],
  jwks: { keys: [signing] },
  cookies: { keys: [randomUUID()] },
  claims: { openid: ['sub'], profile: ['preferred_username', 'org', 'groups'], address: ['address'] },
  conformIdTokenClaims: false, // the claims of a scope are in the ID token, not at the userinfo endpoint alone
  features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
  ttl: { DeviceCode: settings.codeSeconds },
  findAccount: (_, id) => {
    const claims = settings.people[id];
    return claims && { accountId: id, claims: () => ({ sub: id, ...claims }) };
  },
});

// by itself it keeps the nonce of a device's request, and leaves it out of the ID token
if (settings.nonce) provider.on('device_code.consumed', (code) => { code.nonce = code.params.nonce; });

// the pace of polling (RFC 8628 section 3.5) it leaves to whoever runs it
const paces = new Map(); // device code: when it was asked for last, and how long to wait from then on
const tooSoon = (code) => {
  const now = Date.now() / 1000;
  const { at, pace } = paces.get(code) ?? { at: 0, pace: settings.pace };
  const soon = now - at < pace;
  paces.set(code, { at: now, pace: soon ? settings.slower : pace });
  return soon;
};

provider.use(async (ctx, next) => {
  const form = ctx.method === 'POST' && ['/device/auth', '/token'].includes(ctx.path);
  if (!form) {
    await next();
    return;
  }
  const chunks = [];
  for await (const chunk of ctx.req) chunks.push(chunk);
  const body = parse(Buffer.concat(chunks).toString());
  ctx.req.body = body;
  if (ctx.path === '/token' && tooSoon(body.device_code)) {
    ctx.status = 400;
    ctx.body = { error: 'slow_down' };
  } else {
    await next();
  }
  if (ctx.path === '/token') {
    say({ answer: ctx.body.error ?? 'token' });
  } else if (ctx.status === 200) {
    paces.set(ctx.body.device_code, { at: Date.now() / 1000, pace: settings.pace });
    if (settings.interval) ctx.body.interval = settings.interval;
  }
});

server.on('request', provider.callback());
say({ issuer });
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
