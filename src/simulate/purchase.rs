//! From the basket to the money, and back: checkout, coupon, payment with its failures, order, return. And the tills.
//!
//! Deliberately absent: fraud; scripts call these same steps with other people and other habits.

use std::sync::Arc;

use super::agenda::{Act, Order, PayStatus, Payment, Source};
use super::config::{DAY_MS, HOUR_MS};
use super::geo;
use super::people::{Method, Person};
use super::visit::Plan;
use super::words::{CATEGORIES, COUPON_GUESSED, COUPON_WELCOME, COUPONS, DECLINE_OUTAGE};

/// Share of filled baskets that reach the checkout.
const CHECKOUT_SHARE: f64 = 0.55;
/// Share of checkouts at which the visitor goes away before paying.
const ABANDONED_SHARE: f64 = 0.08;
/// Share of those not logged in who order without an account.
const GUEST_SHARE: f64 = 0.3;
/// Share of orders with a coupon, and of checkouts with a made-up one.
const COUPON_SHARE: f64 = 0.12;
/// See [`COUPON_SHARE`].
const COUPON_DENIED_SHARE: f64 = 0.015;
/// Shipping, and the value of goods from which it is free, minor units.
const SHIPPING_MINOR: (i64, i64) = (490, 5000);
/// Share of orders cancelled within hours.
const CANCELLED_SHARE: f64 = 0.012;
/// Share of orders whose change (a new address, shipped) is sent as an event.
const UPDATED_SHARE: f64 = 0.25;
/// Another try after a decline, in ordinary life and while nothing works.
const RETRY: (f64, f64) = (0.6, 0.88);
/// Most tries, in ordinary life and while nothing works.
const TRIES: (u32, u32) = (4, 8);

impl Plan<'_> {
    /// Goes to the till with a basket, or not.
    pub fn take_to_till(&mut self, person: &Person, mut basket: Vec<(u32, u32)>, began_ms: i64, first_visit: bool) {
        if basket.len() > 1
            && self.rng.chance(0.12)
            && let Some((product, quantity)) = basket.pop()
        {
            let (line, tag) = self.line(product, quantity);
            self.put_tagged(Act::CartRemove(line), tag);
            self.wait(15.0);
        }
        if !self.rng.chance(CHECKOUT_SHARE) {
            return;
        }
        if first_visit {
            self.who.customer = person.id;
            self.who.email = person.email;
            self.put(Act::AccountCreated);
            self.wait(30.0);
        } else if self.who.customer == 0 {
            if self.rng.chance(GUEST_SHARE) {
                self.who.email = person.email;
            } else {
                self.login(person);
            }
        }
        if self.rng.chance(0.04) {
            self.who.ship_to = self.world.shares.get(self.rng.below(4) as usize).map_or(person.country, |s| s.0);
        }
        if self.rng.chance(COUPON_DENIED_SHARE) {
            let guess = 5 * (1 + self.rng.below(6)) as u32;
            self.put(Act::CouponDenied { code: COUPON_GUESSED, guess });
            self.wait(12.0);
        }
        let coupon = if first_visit && self.rng.chance(0.35) {
            Some(COUPON_WELCOME)
        } else if self.rng.chance(COUPON_SHARE) {
            Some(self.rng.below(u64::from(COUPON_WELCOME)) as u8)
        } else {
            None
        };
        let order = self.checkout(&basket, coupon, began_ms);
        self.wait(30.0);
        let gone = self.schedule.broken_off(self.now_ms);
        if self.rng.chance(ABANDONED_SHARE) || self.rng.chance(gone) {
            return;
        }
        if let Some(payment) = self.pay(person, &order) {
            self.complete(person, &order, payment);
        }
    }

    /// Starts the checkout of a basket.
    pub fn checkout(&mut self, basket: &[(u32, u32)], coupon: Option<u8>, began_ms: i64) -> Arc<Order> {
        let order = self.order(basket, coupon, began_ms);
        if self.who.source != Source::Pos {
            self.put_tagged(Act::Checkout(order.clone()), order.wrong);
            if let Some(code) = coupon {
                self.wait(10.0);
                self.put(Act::CouponApplied { code, discount_minor: order.discount_minor });
            }
        }
        order
    }

    /// Adds up a basket.
    pub fn order(&mut self, basket: &[(u32, u32)], coupon: Option<u8>, began_ms: i64) -> Arc<Order> {
        let mut wrong = None;
        let mut lines = Vec::with_capacity(basket.len());
        for &(product, quantity) in basket {
            let (line, tag) = self.line(product, quantity);
            wrong = wrong.or(tag);
            lines.push(line);
        }
        let goods: i64 = lines.iter().map(|line| line.price_minor * i64::from(line.quantity)).sum();
        let percent = coupon.and_then(|code| COUPONS.get(usize::from(code))).map_or(0, |coupon| coupon.1);
        let discount_minor = goods * percent / 100;
        let free = goods >= SHIPPING_MINOR.1 || self.who.source == Source::Pos;
        let shipping_minor = if free { 0 } else { SHIPPING_MINOR.0 };
        let tax_minor = (goods - discount_minor) * geo::country(self.who.country).tax_bp / 10_000;
        self.counters.orders += 1;
        Arc::new(Order {
            number: self.counters.orders,
            lines,
            shipping_minor,
            tax_minor,
            discount_minor,
            amount_minor: goods + shipping_minor + tax_minor - discount_minor,
            coupon,
            basket_age_s: (self.now_ms - began_ms) as f64 / 1000.0,
            wrong,
        })
    }

    /// Pays as a person does: tries again after a decline, sometimes with another card. `None`: gave up.
    pub fn pay(&mut self, person: &Person, order: &Arc<Order>) -> Option<Payment> {
        let method = person.method(&mut self.rng);
        let mut card = if method == Method::Card { person.card(&mut self.rng) } else { 0 };
        let mut tries = 0;
        loop {
            tries += 1;
            let outage = self.schedule.payment_failure(person.country, self.now_ms);
            let usual = match method {
                Method::Card => person.decline,
                Method::Wallet => 0.015,
                Method::Invoice => 0.0,
            };
            // After one decline the next is likely.
            let usual = if tries > 1 { (usual * 6.0).min(0.5) } else { usual };
            let fails = if self.rng.chance(outage.unwrap_or_default()) {
                Some(DECLINE_OUTAGE)
            } else if self.rng.chance(usual) {
                Some(self.rng.below(5) as u8)
            } else {
                None
            };
            let payment = self.attempt(order, method, card, person.country, fails);
            if fails.is_none() {
                return Some(payment);
            }
            let (again, most) = if outage.is_some() { (RETRY.1, TRIES.1) } else { (RETRY.0, TRIES.0) };
            if tries >= most || !self.rng.chance(again) {
                return None;
            }
            if method == Method::Card && outage.is_none() && self.rng.chance(0.3) {
                card = person.card(&mut self.rng);
            }
            self.wait(if outage.is_some() { 9.0 } else { 25.0 });
        }
    }

    /// One try to pay: attempted, then authorized or failed.
    pub fn attempt(
        &mut self,
        order: &Arc<Order>,
        method: Method,
        card: u64,
        card_country: u8,
        fails: Option<u8>,
    ) -> Payment {
        self.counters.payments += 1;
        let payment = Payment { number: self.counters.payments, method, card, card_country };
        let step = |status| Act::Pay { order: order.clone(), payment, status };
        self.put(step(PayStatus::Attempted));
        self.now_ms += 300 + self.rng.exponential(900.0) as i64;
        self.put(step(match fails {
            Some(code) => PayStatus::Failed(code),
            None => PayStatus::Authorized,
        }));
        payment
    }

    /// The order is placed; the money is captured, and things may come back.
    pub fn complete(&mut self, person: &Person, order: &Arc<Order>, payment: Payment) {
        self.place(order, payment);
        let placed_ms = self.now_ms;
        self.who.session = 0;
        self.who.device = 0;
        self.who.ip = 0;
        if self.rng.chance(0.7) {
            self.wait(3.0);
        } else {
            self.now_ms += (self.rng.range(2.0, 36.0) * HOUR_MS as f64) as i64;
        }
        self.put(Act::Pay { order: order.clone(), payment, status: PayStatus::Captured });
        if self.rng.chance(CANCELLED_SHARE) {
            self.now_ms = placed_ms + (self.rng.range(0.2, 10.0) * HOUR_MS as f64) as i64;
            self.put(Act::Cancelled { order: order.clone() });
            self.wait(3600.0);
            self.put(Act::Refunded { order: order.clone(), amount_minor: order.amount_minor });
            return;
        }
        if self.rng.chance(UPDATED_SHARE) {
            self.now_ms = placed_ms + (self.rng.range(4.0, 40.0) * HOUR_MS as f64) as i64;
            self.put(Act::Updated { order: order.clone() });
        }
        if self.rng.chance((return_share(order) * person.returns).min(0.7)) {
            let days = self.rng.lognormal(7.0, 0.4).clamp(3.0, 21.0);
            self.now_ms = placed_ms + (days * DAY_MS as f64) as i64;
            self.send_back(order, 3.0);
        }
    }

    /// Places the order, no more. A wrong price is marked on it.
    pub fn place(&mut self, order: &Arc<Order>, payment: Payment) {
        self.now_ms += 200 + self.rng.exponential(500.0) as i64;
        self.put_tagged(Act::Completed { order: order.clone(), payment }, order.wrong);
    }

    /// A return is asked for now, at this hour of some day, and refunded some days later.
    pub fn send_back(&mut self, order: &Arc<Order>, refund_days: f64) {
        let whole = order.lines.len() < 2 || self.rng.chance(0.4);
        let first = order.lines.first().map_or(0, |line| line.price_minor * i64::from(line.quantity));
        let amount_minor = if whole { order.amount_minor } else { first.min(order.amount_minor) };
        self.put(Act::ReturnRequested { order: order.clone(), amount_minor });
        self.now_ms += (self.rng.range(0.6, 1.6) * refund_days * DAY_MS as f64) as i64;
        self.put(Act::Refunded { order: order.clone(), amount_minor });
    }

    /// A sale at a till: paid and done. A third of the customers show a card of the shop.
    pub fn till(&mut self, person: &Person) {
        if self.rng.chance(0.3) {
            self.who.customer = person.id;
        }
        let mut basket = Vec::new();
        for _ in 0..1 + self.rng.geometric(0.8, 8) {
            let product = self.interest(person);
            basket.push((product, 1 + self.rng.geometric(0.15, 4) as u32));
        }
        let order = self.checkout(&basket, None, self.now_ms);
        let card = person.card(&mut self.rng);
        let declined = self.rng.chance(0.01);
        self.counters.payments += 1;
        let payment =
            Payment { number: self.counters.payments, method: Method::Card, card, card_country: person.country };
        let status = if declined { PayStatus::Failed(0) } else { PayStatus::Authorized };
        self.put(Act::Pay { order: order.clone(), payment, status });
        if !declined {
            self.place(&order, payment);
        }
    }
}

/// How likely something of an order comes back: as its most returned category.
pub(super) fn return_share(order: &Order) -> f64 {
    let share = |category: u8| CATEGORIES.get(usize::from(category)).map_or(0.0, |category| category.2 / 100.0);
    order.lines.iter().map(|line| share(line.category)).fold(0.0, f64::max)
}
