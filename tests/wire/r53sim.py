#!/usr/bin/env python3
"""r53sim.py - small in-memory Route 53 look-alike that counts calls and enforces limits.

For measuring how a tool moves record sets: which API calls, how many, how fast,
and what happens at the account's request limit. Loopback only, no credentials
checked, nothing stored. Wire format: Route 53 REST/XML (2013-04-01), so any AWS
SDK works with its endpoint-URL override.

  r53sim.py --port 5353 [--rps 10 --burst 50] [--change-rate 0 --change-burst 0]
            [--default-page 100] [--insync-ms 0] [--latency-ms 0] [--zone-busy-ms 0]

  --rps/--burst      token bucket over all calls (0 = no limit); 400 Throttling
  --change-rate/--change-burst  second bucket over all zones: CREATE and DELETE
                     cost 1 token, UPSERT 2 (reported values: 100/s, burst 1500);
                     a request dearer than the burst can never pass
  --zone-busy-ms     after a change, further changes to that zone inside this
                     time get 400 PriorRequestNotComplete
  --insync-ms        GetChange says PENDING until this long after the change
  --latency-ms       added to every answer
A DELETE must carry the record set as it is, to the last value.
Enforced per change request: 1,000 ResourceRecord elements and 32,000 value
characters, both doubled for UPSERT; at most 1,000 changes; all-or-nothing.
The stats name the zones of the changes that were taken, in their order.
Control (not AWS): POST /_sim/seed {"zones":Z,"names":N,"kind":"A|CNAME|ALIAS"}
  POST /_sim/reset (counters)  POST /_sim/limits {...}  GET /_sim/stats
  GET /_sim/weights?name=X -> {"set-id": weight}   GET /_sim/changed -> totals
"""
import argparse, asyncio, json, re, time, urllib.parse
from xml.sax.saxutils import escape
import xml.etree.ElementTree as ET

NS = "https://route53.amazonaws.com/doc/2013-04-01/"
ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for k, d in (("port", 5353), ("rps", 0), ("burst", 0), ("change-rate", 0), ("change-burst", 0), ("default-page", 100), ("insync-ms", 0), ("latency-ms", 0), ("zone-busy-ms", 0)):
    ap.add_argument("--" + k, type=float if k != "port" else int, default=d)
a = ap.parse_args()
L = dict(rps=a.rps, burst=a.burst or a.rps, change_rate=a.change_rate, change_burst=a.change_burst or a.change_rate,
         latency_ms=a.latency_ms, insync_ms=a.insync_ms, zone_busy_ms=a.zone_busy_ms, default_page=int(a.default_page))


class Bucket:
    def __init__(self, rate, cap): self.rate, self.cap, self.tok, self.t = rate, cap, cap, time.monotonic()
    def take(self, n=1):
        if not self.rate: return True
        t = time.monotonic(); self.tok = min(self.cap, self.tok + (t - self.t) * self.rate); self.t = t
        if self.tok < n: return False
        self.tok -= n; return True


rb, cb = Bucket(L["rps"], L["burst"]), Bucket(L["change_rate"], L["change_burst"])
zones, order_cache, changes, stats = {}, {}, {}, {}
first_t = last_t = None


def rkey(n): return tuple(reversed(n.strip(".").split(".")))
def ser(r):
    x = f"<ResourceRecordSet><Name>{escape(r['Name'])}</Name><Type>{r['Type']}</Type>"
    if r.get("SetIdentifier") is not None: x += f"<SetIdentifier>{escape(r['SetIdentifier'])}</SetIdentifier>"
    for k in ("Weight", "Region", "Geo", "Failover", "MultiValueAnswer", "TTL"):
        if k == "Geo" and r.get(k): x += "<GeoLocation>" + "".join(f"<{g}>{v}</{g}>" for g, v in r[k]) + "</GeoLocation>"
        elif r.get(k) is not None: x += f"<{k}>{r[k]}</{k}>"
    if r.get("Values"): x += "<ResourceRecords>" + "".join(f"<ResourceRecord><Value>{escape(v)}</Value></ResourceRecord>" for v in r["Values"]) + "</ResourceRecords>"
    if r.get("Alias"):
        z, n, e = r["Alias"]; x += f"<AliasTarget><HostedZoneId>{z}</HostedZoneId><DNSName>{escape(n)}</DNSName><EvaluateTargetHealth>{e}</EvaluateTargetHealth></AliasTarget>"
    if r.get("HealthCheckId"): x += f"<HealthCheckId>{r['HealthCheckId']}</HealthCheckId>"
    return x + "</ResourceRecordSet>"
def zser(z): return f"<HostedZone><Id>/hostedzone/{z['id']}</Id><Name>{z['name']}</Name><CallerReference>x</CallerReference><Config><PrivateZone>false</PrivateZone></Config><ResourceRecordSetCount>{len(z['rr'])}</ResourceRecordSetCount></HostedZone>"
def err(code, msg, st=400): return st, f'<?xml version="1.0"?><ErrorResponse xmlns="{NS}"><Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(msg)}</Message></Error><RequestId>sim</RequestId></ErrorResponse>'
def ok(tag, inner, st=200): return st, f'<?xml version="1.0"?><{tag} xmlns="{NS}">{inner}</{tag}>'
def bump(k, n=1): stats[k] = stats.get(k, 0) + n


def newzone(name):
    zid = "Z%012d" % (len(zones) + 1); name = name.rstrip(".") + "."
    zones[zid] = dict(id=zid, name=name, rr={}, busy=0)
    for t, v in (("NS", ["ns1.sim.test.", "ns2.sim.test."]), ("SOA", ["ns1.sim.test. h.sim.test. 1 7200 900 1209600 86400"])):
        zones[zid]["rr"][(name, t, "")] = dict(Name=name, Type=t, TTL=300, Values=v)
    return zones[zid]


def seed(j):
    zones.clear(); order_cache.clear(); Z, N, kind = j.get("zones", 1), j.get("names", 100), j.get("kind", "A")
    zs = [newzone(f"z{i}.example.test") for i in range(Z)]
    for i in range(N):
        z = zs[i % Z]; n = f"svc{i:05d}.{z['name']}"
        for k, (sid, w) in enumerate((("region-a", 100), ("region-b", 0))):
            r = dict(Name=n, Type="CNAME" if kind == "CNAME" else "A", SetIdentifier=sid, Weight=w)
            host = f"lb-{i:05d}-0123456789abcdef.elb.{'us-east-1' if k == 0 else 'eu-west-1'}.amazonaws.test"
            if kind == "A": r.update(TTL=60, Values=[f"192.0.{k+1}.{i % 250 + 1}"])
            elif kind == "CNAME": r.update(TTL=60, Values=[host])
            else: r.update(Alias=("ZALIAS", host + ".", "true"))
            z["rr"][(n, r["Type"], sid)] = r
    return dict(zones={z["id"]: z["name"] for z in zs})


def parse_rr(e):
    t = lambda k: (e.find(f"{{{NS}}}{k}").text if e.find(f"{{{NS}}}{k}") is not None else None)
    r = dict(Name=(t("Name") or "").rstrip(".") + ".", Type=t("Type"), SetIdentifier=t("SetIdentifier"), HealthCheckId=t("HealthCheckId"))
    for k in ("Weight", "TTL"):
        if t(k) is not None: r[k] = int(t(k))
    for k in ("Region", "Failover", "MultiValueAnswer"):
        if t(k) is not None: r[k] = t(k)
    r["Values"] = [v.text or "" for v in e.iter(f"{{{NS}}}Value")]
    ge = e.find(f"{{{NS}}}GeoLocation")
    if ge is not None: r["Geo"] = [(g.tag.split("}")[1], g.text) for g in ge]
    al = e.find(f"{{{NS}}}AliasTarget")
    if al is not None: r["Alias"] = tuple(al.find(f"{{{NS}}}{k}").text for k in ("HostedZoneId", "DNSName", "EvaluateTargetHealth"))
    return r


def whole(r): return {k: v for k, v in r.items() if v not in (None, [])}
def change(z, body):
    global first_t, last_t
    try: root = ET.fromstring(body)
    except ET.ParseError as x: return err("MalformedInput", str(x))
    cs = [(c.find(f"{{{NS}}}Action").text, parse_rr(c.find(f"{{{NS}}}ResourceRecordSet"))) for c in root.iter(f"{{{NS}}}Change")]
    mult = lambda act: 2 if act == "UPSERT" else 1
    rrs = sum(mult(x) * len(r["Values"]) for x, r in cs); ch = sum(mult(x) * sum(map(len, r["Values"])) for x, r in cs)
    if not cs or len(cs) > 1000 or rrs > 1000: bump("reject:too_many"); return err("InvalidChangeBatch", f"Number of records limit of 1000 exceeded ({len(cs)} changes, {rrs} records)")
    if ch > 32000: bump("reject:chars"); return err("InvalidChangeBatch", f"Number of characters limit of 32000 exceeded ({ch})")
    t = time.monotonic()
    if L["zone_busy_ms"] and t < z["busy"]: bump("reject:prior"); return err("PriorRequestNotComplete", "The request was rejected because Route 53 was still processing a prior request.")
    if not cb.take(sum(mult(x) for x, _ in cs)): bump("throttled_changes"); return err("Throttling", "Rate exceeded")
    new = dict(z["rr"]) if any(x != "UPSERT" for x, _ in cs) else z["rr"]
    for act, r in cs:
        k = (r["Name"], r["Type"], r["SetIdentifier"] or "")
        if not r["Name"].endswith(z["name"]): return err("InvalidChangeBatch", f"RRSet {r['Name']} not in zone {z['name']}")
        if act == "CREATE" and k in new: return err("InvalidChangeBatch", f"{k} already exists")
        if act == "DELETE":
            if k not in new: return err("InvalidChangeBatch", f"{k} not found")
            if whole(new[k]) != whole(r): bump("reject:stale"); return err("InvalidChangeBatch", f"tried to delete {k} but the values provided do not match the current values")
            del new[k]; continue
        new[k] = r
    if new is not z["rr"] or len(order_cache.get(z["id"], ())) != len(new): order_cache.pop(z["id"], None)
    z["rr"] = new; z["busy"] = t + L["zone_busy_ms"] / 1e3; bump("changes", len(cs)); bump("change_rr", rrs); stats.setdefault("zones", []).append(z["name"])
    first_t = first_t or t; last_t = t; cid = "C%d" % (len(changes) + 1); changes[cid] = t
    return ok("ChangeResourceRecordSetsResponse", f"<ChangeInfo><Id>/change/{cid}</Id><Status>PENDING</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo>")


def listrr(z, q):
    lim = L["default_page"] if "maxitems" not in q else min(300, int(q["maxitems"]))
    ks = order_cache.get(z["id"])
    if ks is None: ks = order_cache[z["id"]] = sorted(z["rr"], key=lambda k: (rkey(k[0]), k[1], k[2]))
    i = 0
    if "name" in q:
        s = (rkey(q["name"]), q.get("type", ""), q.get("identifier", "")); import bisect
        i = bisect.bisect_left(ks, s, key=lambda k: (rkey(k[0]), k[1], k[2]))
    page = ks[i:i + lim]; x = "<ResourceRecordSets>" + "".join(ser(z["rr"][k]) for k in page) + "</ResourceRecordSets>"
    more = i + lim < len(ks); x += f"<IsTruncated>{'true' if more else 'false'}</IsTruncated><MaxItems>{lim}</MaxItems>"
    if more:
        n = ks[i + lim]; x += f"<NextRecordName>{n[0]}</NextRecordName><NextRecordType>{n[1]}</NextRecordType>" + (f"<NextRecordIdentifier>{n[2]}</NextRecordIdentifier>" if n[2] else "")
    return ok("ListResourceRecordSetsResponse", x)


def route(m, path, q, body):
    p = path.rstrip("/")
    if p.startswith("/_sim/"):
        global first_t, last_t, rb, cb
        op = p[6:]; j = json.loads(body) if body else {}
        if op == "seed": out = seed(j)
        elif op == "reset": stats.clear(); first_t = last_t = None; rb, cb = Bucket(L["rps"], L["burst"]), Bucket(L["change_rate"], L["change_burst"]); out = {}
        elif op == "limits": L.update(j); rb, cb = Bucket(L["rps"], L["burst"]), Bucket(L["change_rate"], L["change_burst"]); out = L
        elif op == "stats": out = dict(stats, calls=sum(v for k, v in stats.items() if k.startswith("call:")), span_s=(last_t - first_t) if first_t else None)
        elif op == "weights": out = {r["SetIdentifier"]: r.get("Weight") for z in zones.values() for k, r in z["rr"].items() if k[0] == q["name"].rstrip(".") + "." and r.get("SetIdentifier")}
        elif op == "changed": out = dict(a_zero=sum(1 for z in zones.values() for r in z["rr"].values() if r.get("SetIdentifier") == "region-a" and r.get("Weight") == 0), b_full=sum(1 for z in zones.values() for r in z["rr"].values() if r.get("SetIdentifier") == "region-b" and r.get("Weight") == 100))
        else: out = {"error": "?"}
        return 200, json.dumps(out)
    p = re.sub(r"^/2013-04-01", "", p); g = re.fullmatch(r"/hostedzone/([^/]+)(/rrset)?", p); name = "Other"
    if p == "/hostedzone": name = "ListHostedZones" if m == "GET" else "CreateHostedZone"
    elif p == "/hostedzonesbyname": name = "ListHostedZonesByName"
    elif p == "/healthcheck": name = "ListHealthChecks"
    elif p.startswith("/change/"): name = "GetChange"
    elif g: name = {"GET": "ListResourceRecordSets", "POST": "ChangeResourceRecordSets"}[m] if g.group(2) else "GetHostedZone"
    bump("call:" + name)
    if not rb.take(): bump("throttled"); return err("Throttling", "Rate exceeded")
    if g and g.group(1) not in zones: return err("NoSuchHostedZone", "no such zone", 404)
    if name == "ListHostedZones":
        ids = sorted(zones); i = ids.index(q["marker"]) if q.get("marker") in zones else 0; mx = min(100, int(q.get("maxitems", 100)))
        x = "<HostedZones>" + "".join(zser(zones[k]) for k in ids[i:i + mx]) + "</HostedZones>"; more = i + mx < len(ids)
        return ok("ListHostedZonesResponse", x + f"<Marker></Marker><IsTruncated>{str(more).lower()}</IsTruncated>" + (f"<NextMarker>{ids[i+mx]}</NextMarker>" if more else "") + f"<MaxItems>{mx}</MaxItems>")
    if name == "ListHostedZonesByName":
        zs = sorted((z for z in zones.values() if z["name"] >= q.get("dnsname", "").rstrip(".") + "."), key=lambda z: z["name"])[:int(q.get("maxitems", 100))]
        return ok("ListHostedZonesByNameResponse", "<HostedZones>" + "".join(map(zser, zs)) + "</HostedZones><IsTruncated>false</IsTruncated><MaxItems>100</MaxItems>")
    if name == "CreateHostedZone":
        z = newzone(ET.fromstring(body).find(f"{{{NS}}}Name").text)
        return ok("CreateHostedZoneResponse", zser(z) + "<ChangeInfo><Id>/change/C0</Id><Status>INSYNC</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo><DelegationSet><NameServers><NameServer>ns1.sim.test</NameServer></NameServers></DelegationSet>", 201)
    if name == "ListHealthChecks": return ok("ListHealthChecksResponse", "<HealthChecks></HealthChecks><Marker></Marker><IsTruncated>false</IsTruncated><MaxItems>100</MaxItems>")
    if name == "GetChange":
        cid = p.split("/")[-1]; done = time.monotonic() - changes.get(cid, 0) >= L["insync_ms"] / 1e3
        return ok("GetChangeResponse", f"<ChangeInfo><Id>/change/{cid}</Id><Status>{'INSYNC' if done else 'PENDING'}</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo>")
    if name == "GetHostedZone": return ok("GetHostedZoneResponse", zser(zones[g.group(1)]) + "<DelegationSet><NameServers><NameServer>ns1.sim.test</NameServer></NameServers></DelegationSet>")
    if name == "ListResourceRecordSets": return listrr(zones[g.group(1)], q)
    if name == "ChangeResourceRecordSets": return change(zones[g.group(1)], body)
    return err("InvalidAction", path, 404)


async def serve(r, w):
    try:
        while True:
            h = await r.readuntil(b"\r\n\r\n"); line, *hs = h.decode("latin1").split("\r\n"); m, target, ver = line.split(" ")
            hd = {k.strip().lower(): v.strip() for k, _, v in (x.partition(":") for x in hs if x)}
            if hd.get("expect", "").lower() == "100-continue": w.write(b"HTTP/1.1 100 Continue\r\n\r\n"); await w.drain()
            body = await r.readexactly(int(hd["content-length"])) if hd.get("content-length", "0") != "0" else b""
            u = urllib.parse.urlsplit(target); q = dict(urllib.parse.parse_qsl(u.query))
            try: st, out = route(m, urllib.parse.unquote(u.path), q, body)
            except Exception as x: st, out = err("InternalFailure", repr(x), 500); print("ERR", target, repr(x), flush=True)
            if L["latency_ms"] and not u.path.startswith("/_sim"): await asyncio.sleep(L["latency_ms"] / 1e3)
            out = out.encode(); ct = "application/json" if u.path.startswith("/_sim") else "text/xml"
            w.write(f"HTTP/1.1 {st} X\r\nContent-Type: {ct}\r\nx-amzn-RequestId: sim\r\nContent-Length: {len(out)}\r\n\r\n".encode() + out); await w.drain()
            if hd.get("connection", "").lower() == "close" or ver == "HTTP/1.0": break
    except (asyncio.IncompleteReadError, ConnectionError): pass
    finally: w.close()


async def main():
    s = await asyncio.start_server(serve, "127.0.0.1", a.port, limit=1 << 24); print("ready", flush=True)
    async with s: await s.serve_forever()
asyncio.run(main())
