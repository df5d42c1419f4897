//! Finds what the SDK does not know in a listing of record sets.
//!
//! Its parser passes over elements that were added to the service after it was made. A set that carries
//! one must be known as such, because writing it back would lose what we never saw.

/// Every element inside `ResourceRecordSet` in the service model of 2013-04-01 as the SDK has it.
const KNOWN: [&str; 31] = [
    "Name",
    "Type",
    "SetIdentifier",
    "Weight",
    "Region",
    "GeoLocation",
    "ContinentCode",
    "CountryCode",
    "SubdivisionCode",
    "Failover",
    "MultiValueAnswer",
    "TTL",
    "ResourceRecords",
    "ResourceRecord",
    "Value",
    "AliasTarget",
    "HostedZoneId",
    "DNSName",
    "EvaluateTargetHealth",
    "HealthCheckId",
    "TrafficPolicyInstanceId",
    "CidrRoutingConfig",
    "CollectionId",
    "LocationName",
    "GeoProximityLocation",
    "AWSRegion",
    "LocalZoneGroup",
    "Bias",
    "Coordinates",
    "Latitude",
    "Longitude",
];

/// Of one page: for each `ResourceRecordSet`, in order, the elements that nobody here knows.
///
/// Looks at tags only. In text and attributes `<` is always written as an entity, so none is mistaken.
pub(super) fn unknown_elements(document: &str) -> Vec<Vec<String>> {
    let mut sets: Vec<Vec<String>> = Vec::new();
    let mut inside = false;
    for tag in document.split('<').skip(1) {
        let name_end = tag.find(|c: char| c.is_ascii_whitespace() || matches!(c, '>' | '/'));
        match (tag.strip_prefix('/'), name_end.and_then(|end| tag.get(..end))) {
            (Some(closed), _) if closed.starts_with("ResourceRecordSet>") => inside = false,
            (None, Some("ResourceRecordSet")) => {
                inside = true;
                sets.push(Vec::new());
            }
            (None, Some(name)) if inside && !name.is_empty() && !KNOWN.contains(&name) => {
                if let Some(set) = sets.last_mut() {
                    // Bounded: this goes into messages.
                    set.push(name.chars().take(64).collect());
                }
            }
            (Some(_) | None, _) => {}
        }
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_elements_inside_a_set_are_reported() {
        let document = "<?xml version=\"1.0\"?><R xmlns=\"u\"><ResourceRecordSets><ResourceRecordSet><Name>a.</Name><Weight>1</Weight></ResourceRecordSet><ResourceRecordSet><Name>b.</Name><Mood kind=\"x\"><Deep/></Mood></ResourceRecordSet></ResourceRecordSets><Other>1</Other></R>";
        assert_eq!(unknown_elements(document), [vec![], vec!["Mood", "Deep"]]);
        for odd in ["", "<", "<<<", "</", "<ResourceRecordSet", "<ResourceRecordSet><"] {
            assert!(unknown_elements(odd).iter().all(Vec::is_empty), "{odd}");
        }
    }
}
