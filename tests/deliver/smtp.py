"""A mail server for tests (aiosmtpd): says what it takes as lines of JSON, and misbehaves as told.

The first argument is the plan, as JSON: `tls` (none, starttls, implicit) with `cert` and `key`, `user` and `password`, answers to
recipients in turn (`rcpt`: {"a@b": ["451 later"]}), answers to messages in turn (`data`: ["die", "554 no"]). Whatever is not said is
taken. `die` closes the connection without a word, before a message is taken; `taken` closes it behind that."""
import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

plan = json.loads(sys.argv[1])


def say(**line):
    print(json.dumps(line), flush=True)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        answers = plan.get("rcpt", {}).get(address, [])
        answer = answers.pop(0) if answers else "250 OK"
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server, session, envelope):
        answers = plan.get("data", [])
        answer = answers.pop(0) if answers else "250 taken"
        user = session.auth_data.decode() if session.auth_data else None
        say(answer=answer, to=envelope.rcpt_tos, tls=bool(session.ssl) or plan["tls"] == "implicit", user=user,
            mail=envelope.mail_from, hello=session.host_name, content=envelope.content.decode("ascii"))
        if answer in ("die", "taken"):
            server.transport.abort()
        return answer


def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and data.login.decode() == plan.get("user") \
        and data.password.decode() == plan.get("password")
    return AuthResult(success=good, handled=True, auth_data=data.login)


def context():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(plan["cert"], plan["key"])
    return tls


def server():
    login = {"authenticator": authenticate, "auth_required": True} if plan.get("user") else {}
    if plan["tls"] == "starttls":
        return SMTP(Handler(), require_starttls=True, tls_context=context(), **login)
    return SMTP(Handler(), auth_require_tls=False, **login)


async def main():
    tls = context() if plan["tls"] == "implicit" else None
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", plan.get("port", 0), ssl=tls)
    say(port=listening.sockets[0].getsockname()[1])
    await listening.serve_forever()


asyncio.run(main())
