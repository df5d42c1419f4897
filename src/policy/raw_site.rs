//! The cached copy that a last resort shows, as written in the policy file.

use super::decode::{At, choice, record};
use super::raw_tell::Bucket;
use super::units::{Count, Span, Text, Url};

record! {
    /// The cached copy of public pages that a last resort shows, kept fresh by `leeward run` while all is well.
    "a cached site" Site {
        /// Pages that must be in the copy, all of one origin.
        pages: At<Vec<At<Url>>> = "pages: [\"https://www.example.com/\", \"https://www.example.com/help\"]",
        /// Where the copy is kept.
        to: At<SitePlace> = "to: { directory: /var/www/last-resort }",
        /// How often a new copy is made.
        every: At<Span> = "every: 6h",
        /// When visitors are asked to come back; 2m if it is not written.
        retry_after: Option<At<Span>> = "retry_after: 2m",
        /// A page of your own for addresses that are not in the copy, by its whole path: HTML that needs no other file. The built-in page if it is not written.
        friendly: Option<At<Text>> = "friendly: /etc/leeward/unavailable.html",
        /// How often links are followed from a listed page, 0 to 10; 1 if it is not written.
        depth: Option<At<Count>> = "depth: 1",
        /// How many pages are copied at most, 1 to 2000; 100 if it is not written.
        pages_max: Option<At<Count>> = "pages_max: 100",
        /// How many MiB the copy may have, 1 to 500; 50 if it is not written.
        mib_max: Option<At<Count>> = "mib_max: 50",
        /// Styles and pictures are taken from these origins too.
        assets_from: Option<Vec<At<Url>>> = "assets_from: [\"https://static.example.com/\"]",
        /// What stands at the top of each copied page.
        notice: Option<At<Text>> = "notice: This is a saved copy of the page. Parts of it do not work right now.",
        /// What stands above a form.
        form_notice: Option<At<Text>> = "form_notice: This form does not work right now.",
    }
}

choice! {
    /// Where a copy is kept.
    "a place of a copy" SitePlace {
        /// A directory of this machine, by its whole path. Empty, or the copy before.
        Directory(At<Text>) = "directory" "directory: /var/www/last-resort",
        /// A bucket of S3.
        S3(Bucket) = "s3" "s3: { bucket: example-last-resort, region: eu-central-1, prefix: site/ }",
    }
}
