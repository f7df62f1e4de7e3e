//! `digest FILES..`: the order-free digest of a job's output, `rows=N sum=HEX bad=N` (see `../../../JOB.md`).

fn main() -> std::io::Result<()> {
    let mut digest = pulsegen::Digest::default();
    for file in std::env::args().skip(1) {
        digest.add(&std::fs::read(file)?);
    }
    println!("rows={} sum={:016x} bad={}", digest.rows, digest.sum, digest.bad);
    Ok(())
}
