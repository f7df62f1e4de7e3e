"""Sends with the SDKs of others: `sdk.py SDK URL KEY COUNT [PREFIX]`. Prints what the SDK says of each failure, one JSON object a line."""
import datetime, json, sys, time, urllib.error, urllib.request

sdk, url, key, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
prefix = sys.argv[5] if len(sys.argv) > 5 else "o"


def say(**what):
    print(json.dumps(what), flush=True)


def order(i):
    product = {"product_id": f"p-{i}", "category": "shoes", "price": 12.5, "quantity": 2}
    return {"order_id": f"{prefix}-{i}", "total": 25 + i, "currency": "EUR", "coupon": "NOV10", "products": [product], "gift": True}


def post(path, body, headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, body, headers)) as answer:
            say(status=answer.status, answer=json.loads(answer.read()))
    except urllib.error.HTTPError as error:
        say(status=error.code, answer=json.loads(error.read()))


def paced(send):
    """One event after the other, so that some are always on their way while a test hurts the gateway."""
    for i in range(count):
        send(i)
        if count > 10:
            time.sleep(0.01)


def segment():
    import segment.analytics as analytics
    analytics.write_key, analytics.host, analytics.gzip, analytics.max_retries = key, url, True, 30
    analytics.on_error = lambda error, items: say(error=str(error), items=len(items))
    context = {"ip": "203.0.113.9", "userAgent": "Mozilla/5.0", "traits": {"email": " Anna@Example.com "}}
    paced(lambda i: analytics.track(f"c-{i}", "Order Completed", order(i), context=context, message_id=f"{prefix}-{i}"))
    if count == 1:
        analytics.identify("c-0", {"email": "anna@example.com", "name": "Anna"}, message_id="identify")
        analytics.page("c-0", "Shop", "Shoes", {"url": "https://shop.example/"}, message_id="page")
        analytics.screen("c-0", "Shop", "Shoes", message_id="screen")
        analytics.group("c-0", "club", {"plan": "gold"}, message_id="group")
        analytics.alias("c-old", "c-0")
    analytics.shutdown()


def rudderstack():
    import rudderstack.analytics as analytics
    analytics.write_key, analytics.dataPlaneUrl, analytics.max_retries = key, url, 30
    analytics.on_error = lambda error, items: say(error=str(error), items=len(items))
    context = {"ip": "203.0.113.9", "sessionId": 1795437348}
    paced(lambda i: analytics.track(f"c-{i}", "Order Completed", order(i), context=context, message_id=f"{prefix}-{i}"))
    if count == 1:
        analytics.identify("c-0", {"email": "anna@example.com", "name": "Anna"}, message_id="identify")
        analytics.page("c-0", "Shop", "Shoes", message_id="page")
        analytics.screen("c-0", "Shop", "Shoes", message_id="screen")
        analytics.group("c-0", "club", message_id="group")
        analytics.alias("c-old", "c-0")
    analytics.shutdown()


def posthog():
    from posthog import Posthog
    client = Posthog(key, host=url, gzip=True, max_retries=30, flush_interval=0.2, on_error=lambda error, items: say(error=str(error), items=len(items)))
    more = {"$ip": "203.0.113.9", "$session_id": "s-1"}
    paced(lambda i: client.capture("Order Completed", distinct_id=f"c-{i}", properties=order(i) | more, uuid=f"00000000-0000-4000-8000-{i:012d}" if prefix == "o" else f"00000000-0000-4000-9000-{i:012d}"))
    if count == 1:
        client.set(distinct_id="c-0", properties={"email": "anna@example.com", "name": "Anna"})
        client.capture("$autocapture", distinct_id="c-0")
        client.alias("c-old", "c-0")
        client.group_identify("club", "c1", {"plan": "gold"})
    client.shutdown()


def cloudevents():
    from cloudevents.core.bindings import http
    from cloudevents.core.v1.event import CloudEvent

    def event(i):
        attributes = {"id": f"{prefix}-{i}", "source": "/shop/web", "type": "com.example.order.completed", "specversion": "1.0",
                      "time": datetime.datetime.now(datetime.timezone.utc), "datacontenttype": "application/json", "subject": "größe 7"}
        data = {"amount": 25 + i, "currency": "EUR", "customer_id": f"c-{i}", "id": "of the data"}
        return CloudEvent(attributes=attributes, data=data)

    def send(message):
        body = message.body if isinstance(message.body, bytes) else message.body.encode()
        post("/cloudevents", body, dict(message.headers) | {"authorization": f"Bearer {key}"})

    send(http.to_binary_event(event(0)))
    send(http.to_structured_event(event(1)))
    # the SDK has no batches: a batch is a list of structured events
    items = [http.to_structured_event(event(i)).body for i in (2, 3)]
    batch = "[" + ",".join(item if isinstance(item, str) else item.decode() for item in items) + "]"
    post("/cloudevents", batch.encode(), {"content-type": "application/cloudevents-batch+json", "authorization": f"Bearer {key}"})


def stripe():
    from stripe import WebhookSignature

    def send(i):
        payment = {"id": f"pi_{i}", "object": "payment_intent", "amount": 12990, "currency": "eur", "customer": f"c-{i}", "status": "succeeded",
                   "metadata": {"order_id": f"{prefix}-{i}"}}
        event = {"id": f"evt_{i}", "object": "event", "created": int(time.time()), "type": "payment_intent.succeeded", "data": {"object": payment}}
        body, at = json.dumps(event), int(time.time())
        signature = WebhookSignature._compute_signature(f"{at}.{body}", key)
        header = f"t={at},v1={signature}"
        WebhookSignature.verify_header(body, header, key, 300)
        post("/webhooks/stripe", body.encode(), {"stripe-signature": header})

    paced(send)


{"segment": segment, "rudderstack": rudderstack, "posthog": posthog, "cloudevents": cloudevents, "stripe": stripe}[sdk]()
