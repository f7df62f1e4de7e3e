"""Standard Webhooks' library for Python: reads [secret, headers, body, good] lists, and says what it takes."""
import json
import sys

from standardwebhooks.webhooks import Webhook

for secret, headers, body, good in json.load(sys.stdin):
    try:
        Webhook(secret).verify(body, headers)
        taken = True
    except Exception:
        taken = False
    assert taken == good, (headers, body[:200], taken)
print("agreed")
