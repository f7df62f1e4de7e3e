//! From an event and what its entities knew to the feature row of `pulse_models::features`.
//!
//! `NAN` = not available, scored as ordinary. Counts are plain numbers (the models scale robustly). Nothing here looks at
//! labels or at other events. Deliberately absent: scaling, entity state.

use crate::record::settings::Settings;
use crate::record::{Answer, Answers, Arena, EntityKind, Event, Item, Lookup, MAX_ITEMS, NO_AMOUNT, pair};
use pulse_models::features::*;

/// Strength of the prior in the comparisons "against its own", in observations: with so many amounts an entity's own
/// mean and deviation count as much as the prior.
pub const PRIOR_STRENGTH: f32 = 4.0;
/// Deviation of asinh(amount) that is assumed before an entity has shown its own: a factor of about 2.7 either way.
pub const PRIOR_DEVIATION: f32 = 1.0;
/// Smallest deviation that is believed: entities that always pay the same are not infinitely surprising at 10 % more.
pub const LEAST_DEVIATION: f32 = 0.1;

/// Events with the amount of one purchase: payment tried, authorised, order. So many amounts are one observation.
pub const EVENTS_OF_A_PURCHASE: f32 = 3.0;
/// A customer who was away for so long comes for another visit: the time between two pages of one visit says nothing about
/// how long somebody stays away.
pub const NEW_VISIT_S: f32 = 1800.0;

/// The same for the price of a product: list prices hardly vary, and a sale is no error.
pub const LEAST_PRICE_DEVIATION: f32 = 0.2;

/// How far `value` is from an entity's own values: (asinh(value) - mean) / deviation, both shrunk. `least` is the smallest
/// deviation that is believed, `each`: so many amounts are one observation. With n observations the variance is the mean of own
/// and prior variance, weighed n : [`PRIOR_STRENGTH`], and the whole is multiplied by n / (n + [`PRIOR_STRENGTH`]), so that one
/// earlier purchase says little. `NAN` without value or earlier amounts.
pub fn against_own(value: f64, answer: &Answer, least: f32, each: f32) -> f32 {
    if answer.amounts == 0 || value.is_nan() {
        return f32::NAN;
    }
    let n = answer.amounts.min(1000) as f32 / each;
    let own = answer.deviation.max(least);
    let total = n + PRIOR_STRENGTH;
    let variance = (n * own * own + PRIOR_STRENGTH * PRIOR_DEVIATION * PRIOR_DEVIATION) / total;
    (libm::asinh(value) as f32 - answer.mean) / variance.sqrt() * (n / total)
}

/// Items that name a product, with what that product knew.
pub fn products<'a>(
    event: &Event,
    arena: &'a Arena,
    answers: &'a Answers,
) -> impl Iterator<Item = (&'a Item, &'a Answer)> + use<'a> {
    arena.items(event).iter().filter(|item| item.product != 0).zip(&answers.products)
}

/// Value of the goods in minor units: prices times quantities (1 when not given). `None` unless every item has a price
/// and all of them were looked at.
pub fn goods_minor(event: &Event, arena: &Arena) -> Option<f64> {
    let items = arena.items(event);
    if items.is_empty() || event.items_count as usize > MAX_ITEMS {
        return None;
    }
    items.iter().try_fold(0.0, |sum, item| {
        let quantity = if item.quantity.is_nan() { 1.0 } else { item.quantity };
        (item.price_minor != NO_AMOUNT).then_some(sum + item.price_minor as f64 * quantity)
    })
}

/// The row of an event. Pure: the same arguments give the same bits.
pub fn assemble(event: &Event, arena: &Arena, answers: &Answers, settings: &Settings) -> Row {
    let mut row: Row = [f32::NAN; FEATURES];
    own_fields(event, arena, settings, &mut row);
    entities(event, answers, &mut row);
    across(event, arena, answers, &mut row);
    for column in beside_the_point(event.event_type.group()) {
        row[*column] = f32::NAN;
    }
    for (slot, signal) in row.iter_mut().skip(BASE_FEATURES).zip(&event.signals) {
        *slot = *signal;
    }
    for value in &mut row {
        if value.is_infinite() {
            *value = f32::MAX.copysign(*value); // beyond binary32
        }
    }
    row
}

/// Columns that say nothing about events of a group: a customer with many refunds who looks at a product is no news, what
/// somebody sends back is as dear as what they bought, many log in and buy from an office, and how long a customer stayed away
/// is told by the first thing they do.
fn beside_the_point(group: Group) -> &'static [usize] {
    match group {
        Group::Browse => &[
            HOUR,
            COUNTRY_MISMATCH,
            CUSTOMER_10M,
            CUSTOMER_1D,
            CUSTOMER_30D,
            CUSTOMER_NEW_PAIRS,
            DEVICE_CARDS,
            DEVICE_CUSTOMERS,
            IP_CARDS,
            EMAIL_1D,
            FAILURES_1H,
            REFUNDS_30D,
            COUPONS_1D,
        ],
        Group::Cart => &[
            HOUR,
            COUNTRY_MISMATCH,
            CUSTOMER_10M,
            CUSTOMER_30D,
            CUSTOMER_GAP,
            CUSTOMER_NEW_PAIRS,
            DEVICE_CARDS,
            IP_10M,
            IP_1D,
            IP_CARDS,
            FAILURES_1H,
            REFUNDS_30D,
        ],
        Group::Payment => &[HOUR, CUSTOMER_10M, CUSTOMER_30D, CUSTOMER_GAP, SESSION_GAP, IP_10M, IP_1D, REFUNDS_30D],
        Group::Order => &[HOUR, CUSTOMER_10M, CUSTOMER_30D, SESSION_GAP, IP_10M, IP_1D, REFUNDS_30D],
        Group::Return => BESIDE_RETURNS,
        Group::Account => &[
            HOUR,
            CUSTOMER_10M,
            CUSTOMER_1D,
            CUSTOMER_30D,
            CUSTOMER_GAP,
            SESSION_10M,
            SESSION_GAP,
            DEVICE_10M,
            DEVICE_1D,
            EMAIL_1D,
            DEVICE_CARDS,
            IP_10M,
            IP_1D,
            IP_CARDS,
            REFUNDS_30D,
            COUPONS_1D,
            PRODUCT_1H,
        ],
        Group::Other => &[],
    }
}

/// The same for returns, which have what they are about from the orders before.
const BESIDE_RETURNS: &[usize] = &[
    HOUR,
    CUSTOMER_10M,
    CUSTOMER_1D,
    CUSTOMER_30D,
    CUSTOMER_GAP,
    AMOUNT_VS_CUSTOMER,
    CUSTOMER_NEW_PAIRS,
    SESSION_10M,
    SESSION_GAP,
    DEVICE_10M,
    DEVICE_1D,
    DEVICE_CARDS,
    DEVICE_CUSTOMERS,
    CARD_10M,
    CARD_1D,
    AMOUNT_VS_CARD,
    IP_10M,
    IP_1D,
    IP_CARDS,
    EMAIL_1D,
    FAILURES_1H,
    PRODUCT_1H,
    COUPONS_1D,
];

/// The greatest of some numbers; `NAN` when there is none.
fn greatest(values: impl Iterator<Item = f32>) -> f32 {
    values.filter(|value| !value.is_nan()).fold(f32::NAN, f32::max)
}

/// The number farthest from 0, with its sign; `NAN` when there is none. Of equal ones the first.
fn farthest(values: impl Iterator<Item = f32>) -> f32 {
    values
        .filter(|value| !value.is_nan())
        .fold(f32::NAN, |far, value| if value.abs() <= far.abs() { far } else { value })
}

/// Columns that need no entity.
fn own_fields(event: &Event, arena: &Arena, settings: &Settings, row: &mut Row) {
    let items = arena.items(event);
    row[AMOUNT] = event.amount as f32;
    if event.items_count > 0 {
        row[ITEMS] = event.items_count as f32;
        let quantities = items.iter().map(|item| item.quantity).filter(|quantity| !quantity.is_nan());
        row[QUANTITY] =
            quantities.fold(f64::NAN, |sum, quantity| if sum.is_nan() { quantity } else { sum + quantity }) as f32;
        row[MAX_PRICE] = greatest(items.iter().map(|item| item.price as f32));
        row[CATALOGUE_RATIO] = greatest(items.iter().map(|item| catalogue_ratio(item).abs() as f32));
    }
    if event.discount_minor != NO_AMOUNT {
        let paid = (event.amount_minor != NO_AMOUNT).then_some(event.amount_minor as f64);
        let discount = event.discount_minor as f64;
        let goods = goods_minor(event, arena).or(paid.map(|paid| paid + discount)).filter(|goods| *goods > 0.0);
        row[DISCOUNT_SHARE] = goods.map_or(f32::NAN, |goods| (discount / goods) as f32);
    }
    if event.shipping_minor != NO_AMOUNT && event.amount_minor > 0 {
        row[SHIPPING_SHARE] = (event.shipping_minor as f64 / event.amount_minor as f64) as f32;
    }
    row[HOUR] = settings.hour(event.time_ms) as f32;
    row[COUNTRY_MISMATCH] = country_mismatch(event);
    if event.device != Lookup::Absent {
        row[BOT] = f32::from(u8::from(event.bot));
    }
}

/// ln(price / catalogue price) of an item; `NAN` unless both are positive.
pub fn catalogue_ratio(item: &Item) -> f64 {
    if item.price > 0.0 && item.catalogue_price > 0.0 { libm::log(item.price / item.catalogue_price) } else { f64::NAN }
}

/// Pairs of countries (IP, billing, shipping) that differ, 0-3; `NAN` when fewer than two are known.
fn country_mismatch(event: &Event) -> f32 {
    let [ip, billing, shipping] = [event.ip_country, event.billing_country, event.shipping_country];
    let pairs = [(ip, billing), (ip, shipping), (billing, shipping)];
    let known = pairs.iter().filter(|pair| pair.0.known() && pair.1.known());
    known
        .map(|pair| f32::from(u8::from(pair.0 != pair.1)))
        .fold(f32::NAN, |sum, differ| if sum.is_nan() { differ } else { sum + differ })
}

/// Events of `outer` that are not those of any `inner`, which are part of it as a rule (a customer or a session on a device, a
/// device behind an address): a busy person is one oddity, not one for each thing that goes with them. All of them where no
/// `inner` is known.
fn beside(outer: &Answer, inner: [Option<&Answer>; 2], window: usize) -> f32 {
    let count = |answer: &Answer| answer.counts.get(window).copied().unwrap_or(0);
    let most = inner.into_iter().flatten().map(count).max().unwrap_or(0);
    count(outer).saturating_sub(most) as f32
}

/// Places of windows in `counts`.
const TEN_MINUTES: usize = 0;
const DAY: usize = 2;
const THIRTY_DAYS: usize = 4;

/// Columns of one entity each.
fn entities(event: &Event, answers: &Answers, row: &mut Row) {
    let answer = |kind: EntityKind| answers.single.get(kind as usize).and_then(Option::as_ref);
    let gap = |answer: &Answer| if answer.gap_s < 0.0 { f32::NAN } else { answer.gap_s };
    let (session, device) = (answer(EntityKind::Session), answer(EntityKind::Device));
    let customer = answer(EntityKind::Customer);
    if let Some(customer) = customer {
        row[CUSTOMER_10M] = beside(customer, [session, None], TEN_MINUTES);
        row[CUSTOMER_1D] = customer.counts[DAY] as f32;
        row[CUSTOMER_30D] = customer.counts[THIRTY_DAYS] as f32;
        row[CUSTOMER_GAP] = if customer.gap_s >= NEW_VISIT_S { customer.gap_s } else { f32::NAN };
        row[AMOUNT_VS_CUSTOMER] = against_own(event.amount, customer, LEAST_DEVIATION, EVENTS_OF_A_PURCHASE);
        row[REFUNDS_30D] = f32::from(customer.refunds_30d);
        if customer.gap_s >= 0.0 {
            let partners = 1 << pair::COUNTRY | 1 << pair::DEVICE | 1 << pair::CARD;
            row[CUSTOMER_NEW_PAIRS] = (customer.new_pair & partners).count_ones() as f32;
        }
    }
    if let Some(session) = session {
        row[SESSION_10M] = session.counts[TEN_MINUTES] as f32;
        row[SESSION_GAP] = gap(session);
    }
    if let Some(device) = device {
        row[DEVICE_10M] = beside(device, [customer, session], TEN_MINUTES);
        row[DEVICE_1D] = beside(device, [customer, None], DAY);
        row[DEVICE_CARDS] = f32::from(device.distinct_1d[pair::CARD]);
        row[DEVICE_CUSTOMERS] = f32::from(device.distinct_1d[pair::CUSTOMER]);
    }
    if let Some(card) = answer(EntityKind::Card) {
        row[CARD_10M] = card.counts[TEN_MINUTES] as f32;
        row[CARD_1D] = card.counts[DAY] as f32;
        if customer.is_none_or(|customer| card.amounts > customer.amounts) {
            row[AMOUNT_VS_CARD] = against_own(event.amount, card, LEAST_DEVIATION, EVENTS_OF_A_PURCHASE);
        }
    }
    if let Some(ip) = answer(EntityKind::Ip) {
        row[IP_10M] = beside(ip, [device, None], TEN_MINUTES);
        row[IP_1D] = beside(ip, [device, None], DAY);
        row[IP_CARDS] = f32::from(ip.distinct_1d[pair::CARD]);
    }
    if let Some(email) = answer(EntityKind::Email).filter(|_| customer.is_none()) {
        row[EMAIL_1D] = beside(email, [session, None], DAY);
    }
}

/// Columns that take the most of several entities.
fn across(event: &Event, arena: &Arena, answers: &Answers, row: &mut Row) {
    use EntityKind::{Card, Customer, Device, Ip};
    let of = |kinds: &'static [EntityKind]| {
        kinds.iter().filter_map(|kind| answers.single.get(*kind as usize).and_then(Option::as_ref))
    };
    row[FAILURES_1H] = greatest(of(&[Customer, Device, Card, Ip]).map(|answer| f32::from(answer.failures[1])));
    row[COUPONS_1D] = greatest(of(&[Customer, Device, Ip]).map(|answer| f32::from(answer.coupons_1d)));
    let price = |(item, own): (&Item, &Answer)| against_own(item.price, own, LEAST_PRICE_DEVIATION, 1.0);
    row[PRICE_VS_PRODUCT] = farthest(products(event, arena, answers).map(price));
    row[PRODUCT_1H] = greatest(answers.products.iter().map(|answer| answer.counts[1] as f32));
    row[EXTRA_VALUE] =
        farthest(answers.extra.iter().flatten().map(|answer| against_own(event.amount, answer, LEAST_DEVIATION, 1.0)));
    row[EXTRA_10M] = greatest(answers.extra.iter().flatten().map(|answer| answer.counts[0] as f32));
}
