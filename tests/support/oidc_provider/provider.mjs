// An OpenID provider for the tests: oidc-provider with two accounts, and pages without styles of other hosts.
// node provider.mjs MODULES PORT CLIENT, where CLIENT is the JSON of the only client. The service's name is not checked.
import { createServer } from 'node:http'
import { pathToFileURL } from 'node:url'

const [modules, port, client] = process.argv.slice(2)
const { default: Provider } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`))

const accounts = {
  olga: { preferred_username: 'olga', groups: ['operators'] },
  stranger: { preferred_username: 'stranger', groups: ['others'] },
}
const page = (body) => `<!doctype html><html lang="en"><title>Provider</title><body>${body}</body></html>`

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [JSON.parse(client)],
  claims: { openid: ['sub'], profile: ['preferred_username'], groups: ['groups'] },
  pkce: { required: () => true },
  cookies: { keys: ['a key of the tests'] },
  ttl: { AccessToken: 300, AuthorizationCode: 60, Grant: 300, IdToken: 300, Interaction: 300, Session: 300 },
  features: {
    devInteractions: { enabled: false },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: {
      enabled: true,
      logoutSource: (context, form) => {
        context.body = page(`${form}<button form="op.logoutForm" name="logout" value="yes">End it</button>`)
      },
    },
  },
  findAccount: (_, accountId) => accounts[accountId] && {
    accountId,
    claims: () => ({ sub: accountId, ...accounts[accountId] }),
  },
  // Everybody consents to everything.
  loadExistingGrant: async ({ oidc }) => {
    const grant = new provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId })
    grant.addOIDCScope('openid profile groups')
    await grant.save()
    return grant
  },
  // Its own dispatcher refuses loopback addresses, and the service of the test has one.
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  interactions: { url: (_, { uid }) => `/interaction/${uid}` },
})

const serve = provider.callback()
createServer(async (request, response) => {
  if (!request.url.startsWith('/interaction/')) return serve(request, response)
  if (request.method === 'GET') {
    response.setHeader('Content-Type', 'text/html')
    const names = Object.keys(accounts).map((name) => `<button name="login" value="${name}">${name}</button>`)
    return response.end(page(`<form method="post">${names.join('')}</form>`))
  }
  let body = ''
  for await (const part of request) body += part
  const accountId = new URLSearchParams(body).get('login')
  return provider.interactionFinished(request, response, { login: { accountId } })
}).listen(Number(port), '127.0.0.1', () => console.log('listening'))
