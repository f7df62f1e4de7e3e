//! The shop's catalogue: what a product costs and which category it is in.
//!
//! Made from the text of a JSON array (`[{"product_id":"p-1","category":"shoes","price":135.00}]`), of NDJSON with such
//! objects, or of CSV with a header line that names `product_id` and any of `category` and `price`. Prices are in the
//! shop's currency. Deliberately absent: reading files, currencies of their own for products.

use crate::record::json::{Reader, Token};
use crate::record::{EntityKind, entity_key, money};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Products of a table; more is an error of the file, not of memory (about 100 bytes each).
pub const MAX_PRODUCTS: usize = 2_000_000;

/// Keys are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity(u64);
impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// What the catalogue says of a product.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// Category, empty when not given.
    pub category: String,
    /// Price in the shop's currency, major units; `NAN` when not given.
    pub price: f64,
}

/// A table of products.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    products: HashMap<u64, Product, BuildHasherDefault<Identity>>,
    hash: u64,
}

/// Why a text is no catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// Number of the product or line, counted from 1, and what is wrong with it.
    #[error("catalogue entry {0}: {1}")]
    Entry(usize, &'static str),
    /// The text as a whole.
    #[error("catalogue: {0}")]
    Text(&'static str),
}

impl Catalogue {
    /// Reads JSON, NDJSON or CSV. `decimals`: exponent of the shop's currency.
    pub fn parse(text: &str, decimals: u8) -> Result<Catalogue, CatalogueError> {
        let mut catalogue = Catalogue { hash: xxhash_rust::xxh3::xxh3_64(text.as_bytes()), ..Catalogue::default() };
        let start = text.trim_start();
        if start.starts_with('[') {
            catalogue.json(start, decimals)?;
        } else if start.starts_with('{') {
            for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let mut reader = Reader::new(line);
                let product = product(&mut reader, decimals).and_then(|product| {
                    reader.end().map_err(|_| "not JSON")?;
                    Ok(product)
                });
                catalogue.insert(product.map_err(|what| CatalogueError::Entry(i + 1, what))?)?;
            }
        } else {
            catalogue.csv(text, decimals)?;
        }
        Ok(catalogue)
    }
    /// The product with this key ([`entity_key`] of [`EntityKind::Product`]).
    pub fn get(&self, product: u64) -> Option<&Product> {
        self.products.get(&product)
    }
    /// Number of products.
    pub fn len(&self) -> usize {
        self.products.len()
    }
    /// No product at all?
    pub fn is_empty(&self) -> bool {
        self.products.is_empty()
    }
    /// Hash of the text that it was made from.
    pub fn content_hash(&self) -> u64 {
        self.hash
    }

    fn insert(&mut self, (id, product): (String, Product)) -> Result<(), CatalogueError> {
        if self.products.len() >= MAX_PRODUCTS {
            return Err(CatalogueError::Text("more than 2,000,000 products"));
        }
        self.products.insert(entity_key(EntityKind::Product, &id), product);
        Ok(())
    }

    fn json(&mut self, text: &str, decimals: u8) -> Result<(), CatalogueError> {
        let broken = |_| CatalogueError::Text("not JSON");
        let mut reader = Reader::new(text);
        reader.open(b'[').map_err(broken)?;
        let mut count = 0;
        while reader.element(count == 0).map_err(broken)? {
            count += 1;
            self.insert(product(&mut reader, decimals).map_err(|what| CatalogueError::Entry(count, what))?)?;
        }
        reader.end().map_err(broken)
    }

    fn csv(&mut self, text: &str, decimals: u8) -> Result<(), CatalogueError> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let Some((_, header)) = lines.next() else { return Ok(()) };
        let header = columns(header).ok_or(CatalogueError::Entry(1, "quotes without an end"))?;
        let find = |name: &str| header.iter().position(|column| column.trim().eq_ignore_ascii_case(name));
        let id = find("product_id").ok_or(CatalogueError::Text("no column product_id"))?;
        let (category, price) = (find("category"), find("price"));
        for (i, line) in lines {
            let wrong = |what| CatalogueError::Entry(i + 1, what);
            let cells = columns(line).ok_or(wrong("quotes without an end"))?;
            let cell = |at: Option<usize>| at.and_then(|at| cells.get(at)).map(|cell| cell.trim()).unwrap_or_default();
            let key = Some(cell(Some(id))).filter(|id| !id.is_empty()).ok_or(wrong("no product_id"))?;
            let price = match cell(price) {
                "" => f64::NAN,
                text => amount(text, decimals).ok_or(wrong("price is no number"))?,
            };
            self.insert((key.to_owned(), Product { category: cell(category).to_owned(), price }))?;
        }
        Ok(())
    }
}

fn amount(text: &str, decimals: u8) -> Option<f64> {
    money::minor(text, decimals).map(|minor| money::major(minor, decimals))
}

/// One product as a JSON object.
fn product(reader: &mut Reader<'_>, decimals: u8) -> Result<(String, Product), &'static str> {
    let broken = |_| "not JSON";
    if !reader.open(b'{').map_err(broken)? {
        return Err("not an object");
    }
    let (mut id, mut category, mut price) = (String::new(), String::new(), f64::NAN);
    let mut first = true;
    while let Some(key) = reader.key(first).map_err(broken)? {
        first = false;
        let value = reader.value(&mut ()).map_err(broken)?;
        match (&*key.value(), value) {
            ("product_id", Token::Text(text)) => id = text.value().into_owned(),
            ("category", Token::Text(text)) => category = text.value().into_owned(),
            ("price", Token::Number(text)) => price = amount(text, decimals).ok_or("price is too large")?,
            ("price", Token::Text(text)) => price = amount(&text.value(), decimals).ok_or("price is no number")?,
            ("category" | "price", Token::Null(_)) => (),
            ("product_id" | "category", _) => return Err("product_id and category must be text"),
            ("price", _) => return Err("price is no number"),
            _ => (),
        }
    }
    if id.is_empty() { Err("no product_id") } else { Ok((id, Product { category, price })) }
}

/// Cells of a CSV line, with RFC 4180 quotes; `None` when a quote stays open (line breaks in cells are not taken).
fn columns(line: &str) -> Option<Vec<String>> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.trim_end_matches('\r').chars().peekable();
    while let Some(c) = chars.next() {
        let cell = cells.last_mut()?;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                cell.push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            other => cell.push(other),
        }
    }
    (!quoted).then_some(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_agree() {
        let forms = [
            r#"[{"product_id":"p-1","category":"shoes","price":135.00},{"product_id":"p-2","price":"9.5","x":[1]}]"#,
            "{\"product_id\":\"p-1\",\"category\":\"shoes\",\"price\":135}\n\n{\"product_id\":\"p-2\",\"price\":9.50,\"category\":null}\n",
            "price,product_id,category\n135.00,p-1,\"shoes\"\n9.5,\"p-2\",\n",
        ];
        for text in forms {
            let catalogue = Catalogue::parse(text, 2).unwrap();
            let get = |id| catalogue.get(entity_key(EntityKind::Product, id));
            assert_eq!(get("p-1"), Some(&Product { category: "shoes".into(), price: 135.0 }));
            assert_eq!(get("p-2"), Some(&Product { category: String::new(), price: 9.5 }));
            assert_eq!((get("p-3"), catalogue.len()), (None, 2));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let table = [
            ("[{}]", CatalogueError::Entry(1, "no product_id")),
            ("[{\"product_id\":\"a\"},7]", CatalogueError::Entry(2, "not an object")),
            ("{\"product_id\":\"a\",\"price\":true}", CatalogueError::Entry(1, "price is no number")),
            ("sku,price\na,1", CatalogueError::Text("no column product_id")),
            ("product_id,price\na,1\nb,one", CatalogueError::Entry(3, "price is no number")),
            ("product_id,price\n\"a,1", CatalogueError::Entry(2, "quotes without an end")),
        ];
        for (text, expected) in table {
            assert_eq!(Catalogue::parse(text, 2).unwrap_err(), expected, "{text}");
        }
    }
}
