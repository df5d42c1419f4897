//! Weekly windows: `Fri 18:00-Mon 06:00 Europe/Berlin`.

use super::super::BlockedWindow;
use super::super::decode::{At, nearest};
use super::super::problem::{Code, Finding, Findings, quoted};
use super::super::units::Text;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MINUTES_OF_DAY: u32 = 24 * 60;

pub(super) fn compile(written: &At<Text>, to: &mut Findings<'_>) -> Option<BlockedWindow> {
    let text = written.value.0.as_str();
    match parse(text, to) {
        Ok((from_minute, to_minute, time_zone)) => Some(BlockedWindow {
            text: text.to_owned(),
            time_zone: time_zone.to_owned(),
            from_minute,
            to_minute,
        }),
        Err((why, help)) => {
            let message = format!("{} is not a weekly window", quoted(text));
            to.add(Finding::new(Code::BadWindow, written.at, message).label(why).help(help));
            None
        }
    }
}

/// First minute, last minute (not included) and time zone; or why not, and what would be right.
fn parse<'t>(text: &'t str, to: &Findings<'_>) -> Result<(u32, u32, &'t str), (String, String)> {
    let form = || "expected something like `Fri 18:00-Mon 06:00 Europe/Berlin`".to_owned();
    let malformed = |why: &str| (why.to_owned(), form());
    let (from, rest) = text.split_once('-').ok_or_else(|| malformed("there is no `-`"))?;
    let mut words = rest.split_ascii_whitespace();
    let (day, time) = (words.next(), words.next());
    let zone = words.next().ok_or_else(|| malformed("the time zone is missing"))?;
    if words.next().is_some() {
        return Err(malformed("there is something behind the time zone"));
    }
    let mut from = from.split_ascii_whitespace();
    let from_minute = minute(from.next(), from.next(), form)?;
    if from.next().is_some() {
        return Err(malformed("there is too much before the `-`"));
    }
    let to_minute = minute(day, time, form)?;
    if from_minute == to_minute {
        return Err(("it begins and ends at the same minute".to_owned(), form()));
    }
    if !zone.contains('/') && zone != "UTC" {
        let help = "names of the IANA list, like `Europe/Berlin`, or `UTC`".to_owned();
        return Err((format!("{} is not a time zone", quoted(zone)), help));
    }
    if jiff::tz::TimeZone::get(zone).is_err() {
        let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        let city = |name: &str| name.rsplit('/').next().map(str::to_owned).unwrap_or_default();
        let cities: Vec<String> = names.iter().map(|name| city(name)).collect();
        let meant = nearest(&city(zone), cities.iter().map(String::as_str), to);
        let meant = meant.and_then(|meant| names.iter().find(|name| city(name) == meant));
        let help = meant.map_or_else(
            || "names of the IANA list, like `Europe/Berlin`, or `UTC`".to_owned(),
            |name| format!("did you mean `{name}`?"),
        );
        return Err((format!("{} is not a time zone", quoted(zone)), help));
    }
    Ok((from_minute, to_minute, zone))
}

fn minute(
    day: Option<&str>,
    time: Option<&str>,
    form: impl Fn() -> String,
) -> Result<u32, (String, String)> {
    let Some(day) = day else { return Err(("a day is missing".to_owned(), form())) };
    let Some(place) = DAYS.iter().position(|known| known.eq_ignore_ascii_case(day)) else {
        let help = format!("the days are {}", DAYS.join(", "));
        return Err((format!("{} is not a day", quoted(day)), help));
    };
    let Some(time) = time else { return Err((format!("the time on {day} is missing"), form())) };
    let clock = |text: &str| {
        let (hours, minutes) = text.split_once(':')?;
        let two = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        if !two(hours) || !two(minutes) {
            return None;
        }
        let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
        let inside = hours < 24 && minutes < 60 || (hours, minutes) == (24, 0);
        inside.then_some(hours * 60 + minutes)
    };
    let Some(minutes) = clock(time) else {
        return Err((
            format!("{} is not a time of day", quoted(time)),
            "from 00:00 to 24:00".to_owned(),
        ));
    };
    let place = u32::try_from(place).unwrap_or(0);
    Ok((place * MINUTES_OF_DAY + minutes) % (7 * MINUTES_OF_DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(u32, u32, &str), (String, String)> {
        parse(text, &Findings::new(""))
    }

    #[test]
    fn a_window_may_run_over_the_end_of_the_week() {
        assert_eq!(parsed("Fri 18:00-Mon 06:00 Europe/Berlin"), Ok((6840, 360, "Europe/Berlin")));
        assert_eq!(parsed("Sun 22:00-Sun 24:00 UTC"), Ok((9960, 0, "UTC")));
        assert_eq!(parsed("mon 22:00-Mon 23:30 UTC"), Ok((1320, 1410, "UTC")));
    }

    #[test]
    fn a_window_that_is_none_says_why() {
        for (text, why) in [
            ("Fri 18:00", "there is no `-`"),
            ("Fri 18:00-Mon 06:00", "the time zone is missing"),
            ("Fry 18:00-Mon 06:00 UTC", "`Fry` is not a day"),
            ("Fri 18:00-Mon 6:00 UTC", "`6:00` is not a time of day"),
            ("Fri 18:00-Fri 18:00 UTC", "it begins and ends at the same minute"),
            ("Fri 18:00-Mon 06:00 Europe/Berlinn", "`Europe/Berlinn` is not a time zone"),
        ] {
            assert_eq!(parsed(text).unwrap_err().0, why, "{text}");
        }
    }
}
