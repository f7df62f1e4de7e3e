// Sends with the SDKs of others: `sdk.cjs SDK URL KEY COUNT [PREFIX]`. Prints what the SDK says of each failure, one JSON object a line.
'use strict'
const [sdk, url, key, n, prefix = 'o'] = process.argv.slice(2)
const count = Number(n)
const say = what => console.log(JSON.stringify(what))
const pause = ms => new Promise(done => setTimeout(done, ms))
const product = i => ({ product_id: `p-${i}`, category: 'shoes', price: 12.5, quantity: 2 })
const order = i => ({ order_id: `${prefix}-${i}`, total: 25 + i, currency: 'EUR', coupon: 'NOV10', products: [product(i)], gift: true })

// one event after the other, so that some are always on their way while a test hurts the gateway
async function paced (send) {
  for (let i = 0; i < count; i++) {
    await send(i)
    if (count > 10) await pause(10)
  }
}

const sdks = {
  async segment () {
    const { Analytics } = require('@segment/analytics-node')
    const analytics = new Analytics({ writeKey: key, host: url, maxRetries: 30, flushInterval: 200 })
    analytics.on('error', error => say({ error: String(error.reason?.message ?? error.code) }))
    await paced(i => analytics.track({ userId: `c-${i}`, event: 'Order Completed', messageId: `${prefix}-${i}`, properties: order(i), context: { ip: '203.0.113.9' } }))
    await analytics.closeAndFlush({ timeout: 60000 })
  },
  async rudderstack () {
    const Rudder = require('@rudderstack/rudder-sdk-node')
    const analytics = new Rudder(key, { dataPlaneUrl: url, flushInterval: 200, retryCount: 30 })
    let waiting = count
    const all = new Promise(done => { if (!waiting) done(); sdks.done = done })
    const sent = error => { if (error) say({ error: String(error.message) }); if (--waiting === 0) sdks.done() }
    await paced(i => analytics.track({ userId: `c-${i}`, event: 'Order Completed', messageId: `${prefix}-${i}`, properties: order(i), context: { ip: '203.0.113.9' } }, sent))
    await all
  },
  async posthog () {
    const { PostHog } = require('posthog-node')
    const client = new PostHog(key, { host: url, flushInterval: 200, fetchRetryCount: 30, fetchRetryDelay: 500 })
    client.on('error', error => say({ error: String(error.message ?? error) }))
    const uuid = i => `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`
    await paced(i => client.capture({ distinctId: `c-${i}`, event: 'Order Completed', uuid: uuid(i), properties: { ...order(i), $ip: '203.0.113.9' } }))
    await client.shutdown(60000)
  },
  async cloudevents () {
    const { CloudEvent, HTTP } = require('cloudevents')
    const event = i => new CloudEvent({ id: `${prefix}-${i}`, source: '/shop/web', type: 'com.example.order.completed', time: new Date().toISOString(), subject: 'shoes', data: { amount: 25 + i, currency: 'EUR', customer_id: `c-${i}` } })
    const send = async ({ headers, body }) => {
      const answer = await fetch(`${url}/cloudevents`, { method: 'POST', headers: { ...headers, authorization: `Bearer ${key}` }, body })
      say({ status: answer.status, answer: await answer.json() })
    }
    await send(HTTP.binary(event(0)))
    await send(HTTP.structured(event(1)))
    const batch = JSON.stringify([event(2), event(3)])
    await send({ headers: { 'content-type': 'application/cloudevents-batch+json' }, body: batch })
  },
  async stripe () {
    const stripe = require('stripe')('sk_test_none')
    await paced(async i => {
      const payment = { id: `pi_${i}`, object: 'payment_intent', amount: 12990, currency: 'eur', customer: `c-${i}`, status: 'succeeded', metadata: { order_id: `${prefix}-${i}` } }
      const event = { id: `evt_${i}`, object: 'event', created: Math.floor(Date.now() / 1000), type: 'payment_intent.succeeded', data: { object: payment } }
      const body = JSON.stringify(event)
      const signature = stripe.webhooks.generateTestHeaderString({ payload: body, secret: key })
      const answer = await fetch(`${url}/webhooks/stripe`, { method: 'POST', headers: { 'stripe-signature': signature }, body })
      say({ status: answer.status, answer: await answer.json() })
    })
  }
}
process.on('unhandledRejection', error => say({ error: String(error?.message ?? error) }))
sdks[sdk]().catch(error => say({ error: String(error?.stack ?? error) })).finally(() => process.exit(0))
