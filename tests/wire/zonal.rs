//! A stand-in for ARC zonal shift, for which no test server exists: the paths, shapes and refusals of the
//! service model (`arc-zonal-shift`, REST with JSON), one shift of a balancer at a time.
//!
//! The texts of refusals are made up; the model has only their codes, statuses and reasons.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::http::{self, Message};
use super::proxy::Proxy;

/// 72 hours in minutes.
const EXPIRES_MAX: u64 = 72 * 60;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shift {
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) away_from: String,
    pub(crate) comment: String,
    /// Seconds since 1970, by the clock of the stand-in.
    pub(crate) until: i64,
    pub(crate) status: &'static str,
}

#[derive(Default)]
struct State {
    /// Zones by balancer, of those that are enabled.
    enabled: BTreeMap<String, Vec<String>>,
    /// All there ever were.
    shifts: Vec<Shift>,
    now: i64,
}

/// Behind a proxy. Ends when dropped.
pub(crate) struct ZonalShifts {
    pub(crate) proxy: Proxy,
    state: Arc<Mutex<State>>,
    _server: http::Server,
}

impl ZonalShifts {
    pub(crate) async fn start(arn: &str, zones: &[&str]) -> Self {
        let zones = zones.iter().map(|zone| (*zone).to_owned()).collect();
        let enabled = [(arn.to_owned(), zones)].into();
        let state = Arc::new(Mutex::new(State { enabled, ..State::default() }));
        let shared = Arc::clone(&state);
        let server = http::Server::start(move |request| Some(answer(request, &shared))).await;
        Self { proxy: Proxy::start(server.port).await, state, _server: server }
    }

    /// What time it is there.
    pub(crate) fn set_time(&self, now: i64) {
        let mut state = self.state.lock().unwrap();
        state.now = now;
        for shift in state.shifts.iter_mut().filter(|shift| shift.status == "ACTIVE") {
            if shift.until <= now {
                shift.status = "EXPIRED";
            }
        }
    }

    pub(crate) fn disable(&self) {
        self.state.lock().unwrap().enabled.clear();
    }

    pub(crate) fn shifts(&self) -> Vec<Shift> {
        self.state.lock().unwrap().shifts.clone()
    }

    pub(crate) fn active(&self) -> Option<Shift> {
        self.shifts().into_iter().find(|shift| shift.status == "ACTIVE")
    }

    /// Somebody else begins one.
    pub(crate) fn begin(&self, arn: &str, zone: &str, minutes: u64, comment: &str) {
        let asked = json!({
            "resourceIdentifier": arn, "awayFrom": zone, "expiresIn": format!("{minutes}m"), "comment": comment,
        });
        self.state.lock().unwrap().begin(&asked).unwrap();
    }

    /// Somebody takes one back, whoever began it.
    pub(crate) fn cancel(&self, id: &str) {
        self.state.lock().unwrap().cancel(id).unwrap();
    }
}

/// Status, code, and what else is in the document.
type Refusal = (u16, &'static str, Value);

fn answer(request: &Message, state: &Mutex<State>) -> Message {
    let mut words = request.first.split(' ');
    let (verb, path) = (words.next().unwrap(), words.next().unwrap());
    let body = || serde_json::from_slice::<Value>(&request.body).unwrap();
    let mut state = state.lock().unwrap();
    let parts: Vec<&str> = path.splitn(3, '/').skip(1).collect();
    let told = match (verb, parts.as_slice()) {
        ("GET", ["managedresources", arn]) => state.resource(&unescaped(arn)),
        ("POST", ["zonalshifts"]) => state.begin(&body()),
        ("PATCH", ["zonalshifts", id]) => state.renew(id, &body()),
        ("DELETE", ["zonalshifts", id]) => state.cancel(id),
        _ => panic!("{verb} {path} is not of this service"),
    };
    match told {
        Ok(document) => Message::answer(200, "application/json", document.to_string()),
        Err((status, code, mut document)) => {
            document["message"] = json!(format!("{code} of the stand-in"));
            let mut refused = Message::answer(status, "application/json", document.to_string());
            refused.headers.push(("x-amzn-errortype".to_owned(), code.to_owned()));
            refused
        }
    }
}

fn unescaped(text: &str) -> String {
    text.replace("%3A", ":").replace("%2F", "/")
}

impl State {
    fn resource(&self, arn: &str) -> Result<Value, Refusal> {
        let zones = self.enabled.get(arn);
        let zones = zones.ok_or((404, "ResourceNotFoundException", json!({})))?;
        let active = || self.shifts.iter().filter(|s| s.arn == arn && s.status == "ACTIVE");
        let weight = |zone: &String| if active().any(|s| s.away_from == *zone) { 0.0 } else { 1.0 };
        let weights: BTreeMap<&String, f64> =
            zones.iter().map(|zone| (zone, weight(zone))).collect();
        let shifts: Vec<Value> = active()
            .map(|shift| {
                let mut document = shown(shift);
                document["appliedStatus"] = json!("APPLIED");
                document["shiftType"] = json!("ZONAL_SHIFT");
                document.as_object_mut().unwrap().remove("status");
                document
            })
            .collect();
        Ok(json!({
            "arn": arn, "name": "web", "appliedWeights": weights, "zonalShifts": shifts,
            "zonalAutoshiftStatus": "DISABLED",
        }))
    }

    fn begin(&mut self, asked: &Value) -> Result<Value, Refusal> {
        let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
        let (arn, away_from, comment) =
            (text("resourceIdentifier"), text("awayFrom"), text("comment"));
        let zones = self.enabled.get(&arn);
        let zones = zones.ok_or((404, "ResourceNotFoundException", json!({})))?;
        if !zones.contains(&away_from) {
            return Err((400, "ValidationException", json!({ "reason": "InvalidAz" })));
        }
        if comment.chars().count() > 128 {
            return Err((400, "ValidationException", json!({ "reason": "FieldTooLong" })));
        }
        if let Some(other) = self.shifts.iter().find(|s| s.arn == arn && s.status == "ACTIVE") {
            let reason = json!({ "reason": "ZonalShiftAlreadyExists", "zonalShiftId": other.id });
            return Err((409, "ConflictException", reason));
        }
        let until = self.until(&text("expiresIn"))?;
        let id = format!("0a1b2c3d-{:04}", self.shifts.len());
        let shift = Shift { id, arn, away_from, comment, until, status: "ACTIVE" };
        self.shifts.push(shift.clone());
        Ok(shown(&shift))
    }

    fn renew(&mut self, id: &str, asked: &Value) -> Result<Value, Refusal> {
        let until = self.until(asked["expiresIn"].as_str().unwrap_or_default())?;
        let shift = self.find(id)?;
        shift.until = until;
        if let Some(comment) = asked["comment"].as_str() {
            comment.clone_into(&mut shift.comment);
        }
        Ok(shown(shift))
    }

    fn cancel(&mut self, id: &str) -> Result<Value, Refusal> {
        let shift = self.find(id)?;
        shift.status = "CANCELED";
        Ok(shown(shift))
    }

    fn find(&mut self, id: &str) -> Result<&mut Shift, Refusal> {
        let found = self.shifts.iter_mut().find(|shift| shift.id == id);
        let shift = found.ok_or((404, "ResourceNotFoundException", json!({})))?;
        if shift.status != "ACTIVE" {
            let reason = json!({ "reason": "ZonalShiftStatusNotActive", "zonalShiftId": id });
            return Err((409, "ConflictException", reason));
        }
        Ok(shift)
    }

    /// `([1-9][0-9]*)(m|h)`, three days at most.
    fn until(&self, expires_in: &str) -> Result<i64, Refusal> {
        let refused = || (400, "ValidationException", json!({ "reason": "InvalidExpiresIn" }));
        let (number, unit) = expires_in.split_at(expires_in.len().saturating_sub(1));
        let number: u64 = number.parse().map_err(|_| refused())?;
        let minutes = match unit {
            "m" => number,
            "h" => number * 60,
            _ => return Err(refused()),
        };
        if !(1..=EXPIRES_MAX).contains(&minutes) {
            return Err(refused());
        }
        Ok(self.now + i64::try_from(minutes * 60).unwrap())
    }
}

fn shown(shift: &Shift) -> Value {
    json!({
        "zonalShiftId": shift.id, "resourceIdentifier": shift.arn, "awayFrom": shift.away_from,
        "expiryTime": shift.until, "startTime": shift.until - 1, "status": shift.status,
        "comment": shift.comment,
    })
}
