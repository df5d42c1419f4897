//! `leeward snapshot-site` and `leeward serve-site`: a cached copy of public pages for the last resort.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::edge::EdgeArgs;
use super::{Exit, Failure, Format, Output, block_on, json, parse_duration};
use crate::clock::SystemClock;
use crate::ports::Clock as _;
use crate::runtime::site::shelf::{Bucket, Folder, NotKept, Shelf, Smaller, keep};
use crate::runtime::site::show::Show;
use crate::runtime::site::{Address, Bounds, Copy, NoCopy, Wanted, Words, read_friendly, take};

/// Left-out things that are shown to people; JSON has all of them.
const SHOWN_MAX: usize = 20;

/// Copies public pages with their styles and pictures, for the day on which nothing can make them.
///
/// Links lead to the copy, scripts are gone, forms are there and say that they do not work. Beside the pages
/// lies `unavailable.html`, for every address that is not in the copy. A page that was listed and cannot be
/// copied, or a copy that is much smaller than the one before, leaves that one as it is (exit status 5, 3).
/// Pages must be in UTF-8. Nothing but GET is sent, and nothing to other origins than the listed ones.
#[derive(Debug, clap::Args)]
pub struct SnapshotArgs {
    /// Pages that must be in the copy, all of one origin.
    #[arg(required = true, value_name = "URL", value_parser = page)]
    pages: Vec<Address>,
    /// A directory of this machine, or `s3://BUCKET/PREFIX`.
    #[arg(long, value_name = "PLACE")]
    to: String,
    /// The AWS region of the bucket.
    #[arg(long, value_name = "REGION", env = "AWS_REGION")]
    region: Option<String>,
    /// A page of your own in place of the built-in friendly one: HTML that needs no other file.
    #[arg(long, value_name = "FILE")]
    friendly: Option<PathBuf>,
    /// When visitors are asked to come back.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_duration)]
    retry_after: Duration,
    /// How often links are followed from a listed page.
    #[arg(long, value_name = "NUMBER", default_value_t = Bounds::default().depth)]
    depth: u32,
    /// How many pages are copied at most.
    #[arg(long, value_name = "NUMBER", default_value_t = Bounds::default().pages_max)]
    pages_max: usize,
    /// How many MiB the copy may have.
    #[arg(long, value_name = "MIB", default_value_t = 50)]
    mib_max: usize,
    /// How long it may take.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    within: Duration,
    /// Styles and pictures are taken from this origin too. May be given again.
    #[arg(long, value_name = "URL", value_parser = page)]
    assets_from: Vec<Address>,
    /// What stands at the top of each copied page.
    #[arg(long, value_name = "TEXT")]
    notice: Option<String>,
    /// What stands above a form.
    #[arg(long, value_name = "TEXT")]
    form_notice: Option<String>,
    /// Replaces the copy before it even if the new one is much smaller.
    #[arg(long)]
    accept_smaller: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    edge: EdgeArgs,
}

/// Serves a copy of a site: its pages, and the friendly page with 503 and `Retry-After` for all else.
///
/// HTTP only; TLS is ended in front of it. A newer copy in the same directory is taken over within seconds.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// The directory that `leeward snapshot-site` has made.
    directory: PathBuf,
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

fn page(text: &str) -> Result<Address, String> {
    Address::parse(text)
        .ok_or_else(|| "expected an address like `https://www.example.com/`".to_owned())
}

pub fn snapshot(args: &SnapshotArgs, out: &mut Output) -> Result<Exit, Failure> {
    let wanted = wanted(args)?;
    let smaller = if args.accept_smaller { Smaller::Accepted } else { Smaller::Refused };
    let copy = block_on(async {
        let shelf = shelf(args).await?;
        let taken = take(&wanted, SystemClock.now()).await.map_err(|error| not_taken(&error))?;
        let kept = keep(&*shelf, &taken, smaller).await.map_err(|error| not_kept(&error, args))?;
        Ok((taken, kept))
    })?;
    let (copy, kept) = copy;
    match args.format {
        Format::Json => out.line(json(&serde_json::json!({
            "to": args.to,
            "pages": copy.manifest.pages,
            "files": copy.manifest.files.len(),
            "octets": copy.manifest.octets,
            "left_out": copy.left_out.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "removed": kept.removed,
            "not_removed": kept.not_removed,
        }))?),
        Format::Text => show(&copy, &kept.not_removed, args, out),
    }
    Ok(Exit::Done)
}

fn show(copy: &Copy, not_removed: &[String], args: &SnapshotArgs, out: &mut Output) {
    let manifest = &copy.manifest;
    let others = manifest.files.len().saturating_sub(manifest.pages);
    out.line(format!(
        "{} and {}, {} KiB, are in `{}`",
        counted(manifest.pages, "page"),
        counted(others, "other file"),
        manifest.octets.div_ceil(1024),
        args.to
    ));
    for one in copy.left_out.iter().take(SHOWN_MAX) {
        out.line(format!("  left out: {one}"));
    }
    if copy.left_out.len() > SHOWN_MAX {
        out.line(format!("  left out: {} more", copy.left_out.len() - SHOWN_MAX));
    }
    for one in not_removed {
        out.line(format!("  not needed any more, and could not be removed: {one}"));
    }
}

fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn wanted(args: &SnapshotArgs) -> Result<Wanted, Failure> {
    let bounds = Bounds {
        depth: args.depth,
        pages_max: args.pages_max,
        octets_max: args.mib_max.saturating_mul(1024 * 1024),
        within: args.within,
        ..Bounds::default()
    };
    let words = Words::default();
    Ok(Wanted {
        pages: args.pages.clone(),
        assets_from: args
            .assets_from
            .iter()
            .map(|page| page.origin.clone())
            .collect::<BTreeSet<_>>(),
        bounds,
        friendly: args
            .friendly
            .as_deref()
            .map(read_friendly)
            .transpose()
            .map_err(|why| Failure::new(Exit::Input, why))?,
        retry_after: args.retry_after,
        words: Words {
            notice: args.notice.clone().unwrap_or(words.notice),
            form: args.form_notice.clone().unwrap_or(words.form),
        },
    })
}

async fn shelf(args: &SnapshotArgs) -> Result<Box<dyn Shelf>, Failure> {
    let Some(place) = args.to.strip_prefix("s3://") else {
        return Ok(Box::new(Folder::new(Path::new(&args.to))));
    };
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let Some(aws_region) = args.region.clone() else {
        return Err(Failure::new(Exit::Input, "the AWS region of the bucket is not known").hint(
            "`--region eu-central-1`, outside of every region whose outage the copy is for",
        ));
    };
    let Some(pages) = args.edge.connect().await?.reach.pages else {
        return Err(Failure::new(Exit::Trouble, "this build has no AWS edge that could reach S3"));
    };
    let prefix = prefix.trim_end_matches('/');
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    Ok(Box::new(Bucket {
        pages: Arc::clone(&pages),
        aws_region,
        bucket: bucket.to_owned(),
        prefix,
    }))
}

fn not_taken(error: &NoCopy) -> Failure {
    match error {
        NoCopy::Nothing | NoCopy::Strange(_) => Failure::new(Exit::Input, error.to_string()),
        NoCopy::Pages { .. } => {
            Failure::new(Exit::Trouble, format!("{error}. The copy before it stays as it is"))
        }
    }
}

fn not_kept(error: &NotKept, args: &SnapshotArgs) -> Failure {
    let message = format!("keep the copy in `{}`: {error}", args.to);
    match error {
        NotKept::Foreign => Failure::new(Exit::Input, message)
            .hint("give an empty directory, or one that holds a copy"),
        NotKept::Smaller { .. } => Failure::new(Exit::Held, message)
            .hint("look at the pages; `--accept-smaller` if it is right so"),
        NotKept::Unreadable(_) | NotKept::Write { .. } => Failure::new(Exit::Trouble, message),
    }
}

pub fn serve(args: &ServeArgs, out: &mut Output) -> Result<Exit, Failure> {
    block_on(async {
        let show = Show::open(&args.directory).await.map_err(|error| {
            Failure::new(Exit::Input, error.to_string())
                .hint("`leeward snapshot-site https://www.example.com/ --to DIRECTORY` makes one")
        })?;
        let trouble = |what: &str, error: &std::io::Error| {
            Failure::new(Exit::Trouble, format!("{what}: {error}"))
        };
        let listener = TcpListener::bind(args.listen)
            .await
            .map_err(|error| trouble(&format!("listen on {}", args.listen), &error))?;
        let address = listener.local_addr().map_err(|error| trouble("listen", &error))?;
        out.line(format!("serving `{}` on http://{address}/", args.directory.display()));
        let mut end = signal(SignalKind::terminate())
            .map_err(|error| trouble("listen to signals", &error))?;
        let stop = CancellationToken::new();
        tokio::select! {
            () = show.serve(listener, stop.clone()) => {}
            _ = end.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        Ok(Exit::Done)
    })
}
