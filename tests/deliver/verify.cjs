// Standard Webhooks' library for Node: reads [secret, headers, body, good] lists, and says what it takes.
const { Webhook } = require(process.argv[2] + "/standardwebhooks");
for (const [secret, headers, body, good] of JSON.parse(require("fs").readFileSync(0, "utf8"))) {
    let taken = true;
    try {
        new Webhook(secret).verify(body, headers);
    } catch {
        taken = false;
    }
    if (taken !== good) throw new Error(JSON.stringify([headers, body.slice(0, 200), taken]));
}
console.log("agreed");
