"""Writes json_corpus.json: what Python's json module makes of difficult texts, as the oracle for the reader.

Run:  python3 operators/tests/data/json_corpus.py > operators/tests/data/json_corpus.json

Each case: the text as hexadecimal bytes, whether Python takes it, the value in a canonical form, and `stricter` where
this project refuses on purpose what Python takes: NaN and Infinity, numbers that are not finite, lone surrogates,
nesting beyond 16 levels, a byte order mark, encodings other than UTF-8.
"""

import json
import math
import random
import struct
import sys

BASE = [
    '{}', '[]', '{"a":1}', '{"a":1,"a":2}', '{"a":{"b":1},"a":[2]}', '{"a":1,}', '{,}', '{"a"}', '{"a":}', '{a:1}', "{'a':1}",
    '[1,]', '[,1]', '[1 2]', '[1', ']', '{', '}', '', ' ', 'null', 'nul', 'nulll', 'true', 'tru', 'True', 'false', '1', '-1', '-', '--1',
    '+1', '01', '-01', '00', '0', '-0', '-0.0', '0.', '.5', '-.5', '1.', '1.e3', '1e', '1e+', '1e-', '1e3', '1E3', '1e+3', '1e-3', '0e0',
    '0e', '1.5e300', '1e400', '-1e400', '1e-400', '1e308', '1.7976931348623157e308', '1.7976931348623159e308', '9' * 308, '9' * 309,
    '9' * 400, '-' + '9' * 400, '0.' + '9' * 400, '18446744073709551615', '18446744073709551616', '9223372036854775808', '-9223372036854775809',
    '123456789012345678901234567890.123456789', '0x10', '1_000', '1,5', 'NaN', 'Infinity', '-Infinity', 'nan', '[NaN]', '{"a":Infinity}',
    '"a"', '"', '"a', 'a"', '"\\"', '"\\""', '"\\\\"', '"\\/"', '"\\b\\f\\n\\r\\t"', '"\\a"', '"\\x41"', '"\\u0041"', '"\\u00e9"', '"\\U0041"',
    '"\\u004"', '"\\u004g"', '"\\u+041"', '"\\u 041"', '"\\u0000"', '"\\ud83d\\ude00"', '"\\ud83d"', '"\\ude00"', '"\\ud83d\\u0041"',
    '"\\ud83dx"', '"\\ude00\\ud83d"', '"\\ud83d\\ud83d\\ude00"', '{"\\ud800":1}', '"\\uD83D\\uDE00"', '"\t"', '"\n"', '"\x00"', '"\x1f"',
    '"\x7f"', '"\u2028"', '"é"', '"😀"', '"\ufeff"', '\ufeff{}', ' \t\r\n{} \t\r\n', '\x0b{}', '\x0c{}', '\u00a0{}', '{}\x00', '{} {}',
    '{}x', '// c\n{}', '/* c */{}', '{"a":1 "b":2}', '{"a":1;"b":2}', '{"a":[1,{"b":[2]}]}', '[' * 16 + ']' * 16, '[' * 17 + ']' * 17,
    '{"a":' * 16 + '1' + '}' * 16, '{"a":' * 17 + '1' + '}' * 17, '[' * 500 + ']' * 500, '[' * 20, '{"":0}', '{"a b":"c d"}',
    '{"a":"' + 'x' * 1000 + '"}', '{"\\u0061":1,"a":2}', '[1,2,3,"4",null,true,false,{"x":[]}]', '{"1":1}', '{1:1}', '{null:1}', '[1,,2]',
    '[[],[[]]]', '[{}]', '{"a":"\\u00"}', '"1234567\\', '"12345678\\n"', '"1234567\\u0041"', '"12345678\x01"', '"1234567890123456"',
]
INVALID_UTF8 = [b'"\xff"', b'"\xc3"', b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"\xf5\x80\x80\x80"', b'\xff\xfe{\x00}\x00', b'"\x80"', b'{"\xe2\x82":1}']


def mutate(rng, text):
    """One to three small edits of a valid text."""
    marks = list('{}[]",:\\u0123456789eE+-.tfn \t\n') + ['\\ud83d', '\\n', '"a"', 'null', '\x01', 'é']
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(text) + 1)
        cut = rng.choice([0, 0, 1, 2])
        text = text[:at] + rng.choice(marks + ['']) + text[at + cut:]
    return text


def canonical(value):
    """A form that both sides can make: numbers as the bits of binary64, big endian, strings as code points."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, (int, float)):
        number = float(value)
        return "n" + struct.pack(">d", number).hex() if math.isfinite(number) else "inf"
    if isinstance(value, str):
        return "s" + ".".join(format(ord(c), "x") for c in value)
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return "{" + ",".join(k + ":" + v for k, v in sorted(("s" + ".".join(format(ord(c), "x") for c in k), canonical(v)) for k, v in value.items())) + "}"


def depth(text):
    """Deepest nesting, strings left out; the text is valid."""
    level = most = 0
    string = escape = False
    for c in text:
        if string:
            string, escape = not (c == '"' and not escape), c == "\\" and not escape
        elif c == '"':
            string = True
        elif c in "[{":
            level += 1
            most = max(most, level)
        elif c in "]}":
            level -= 1
    return most


def case(data):
    """What Python says about some bytes read as UTF-8."""
    constants = []

    def constant(name):
        constants.append(name)
        return 0.0

    try:
        text = data.decode("utf-8")
        value = json.loads(text, parse_constant=constant)
        form = canonical(value)
    except RecursionError:
        return {"hex": data.hex(), "accept": True, "stricter": True}
    except OverflowError:  # an integer beyond binary64
        return {"hex": data.hex(), "accept": True, "stricter": True}
    except (ValueError, UnicodeDecodeError):
        return {"hex": data.hex(), "accept": False, "stricter": False}
    surrogate = any(".%x" % c in form or "s%x" % c in form for c in range(0xD800, 0xE000))
    stricter = bool(constants) or surrogate or "inf" in form or depth(text) > 16
    out = {"hex": data.hex(), "accept": True, "stricter": stricter}
    if not stricter:
        out["value"] = form
    return out


def main():
    rng = random.Random(20261122)
    seeds = [
        '{"id":"o-1","type":"order.completed","time":"2026-11-22T20:16:00.123Z","amount":129.90,"items":[{"product_id":"p-1","quantity":1,"price":1.35e2}],"ok":true,"none":null}',
        '{"a":[1,-2.5,3e-2,"x\\u00e9\\n",{"b":[],"c":{}}],"a":"\\ud83d\\ude00"}',
        '["12345678901234567890", 0.1, -0, 1E5, [[[[]]]], "\\\\\\"/"]',
    ]
    texts = [t.encode("utf-8") for t in BASE] + INVALID_UTF8
    texts += [mutate(rng, rng.choice(seeds)).encode("utf-8") for _ in range(700)]
    seen = dict.fromkeys(texts)
    json.dump([case(t) for t in seen], sys.stdout, separators=(",", ":"))
    sys.stdout.write("\n")


main()
