#!/usr/bin/env python3
"""more.py - outages that the open traces do not show, as traces: more.py DIR

Each is a small change of a calm base, with what a good controller owes its operator. They are written
for this project, by the families of the format: throttled, slow and lying APIs, orders by humans, two
faults at once, three regions, clocks, frozen metrics, broken probes, first waves, restarts, balancers
that a refresh does not cure, replication, surges, short blips. No reference runs: play them with
check.py --play. Standard library only.
"""
import json
import os
import sys

def base(id,**k):
    d={"format":"outage-trace","version":1,"id":id,"title":id,"family":"x","inspired_by":[],"story":"","seed":sum(map(ord,id)),"duration_s":7200,"tick_s":10,"users":50000,"demand_rps":2000,
 "regions":[{"id":"east","role":"primary","weight":100,"capacity_rps":3000,"zones":3,"load_balancers":[{"id":"east-web","carries":0.7},{"id":"east-api","carries":0.3}]},
 {"id":"west","role":"standby","weight":0,"capacity_rps":2600,"zones":3,"load_balancers":[{"id":"west-web","carries":0.7},{"id":"west-api","carries":0.3}]}],
 "probers":["p-eu","p-us","p-ap"],"dns":{"ttl_s":60,"sync_s":40,"straggler_share":0.04,"straggler_s":900},"levers":["dns_change","lb_refresh","notify"],
 "intent":{"home":"east","sustain_s":120,"react_s":60,"bad_ok_below":0.85,"slow_ms_above":3000,"min_vantages":2,"max_replication_lag_s":30,"deploy_guard_s":1800,"failback":"manual","failback_hold_s":1800,"failback_max_step":0.25,"lb_refresh_first":True,"lb_refresh_wait_s":300,"lb_refresh_max":2,"status_every_s":900,"spare_margin":0.1,"max_shifts_per_hour":2},
 "noise":{"probe_ok":0.01,"probe_ms":12.0,"elb_5xx":0.0008,"target_5xx":0.001},"phases":[{"t":0,"name":"calm"}],"events":[],"expect":[]}
    for kk,v in k.items():
        if kk=="intent": d["intent"].update(v)
        else: d[kk]=v
    return d
DARK={"truth":{"ok":0.0,"ms":10000},"seen":{"healthy_hosts":0.0,"elb_5xx":1.0},"metrics":{"mode":"missing"}}
BROWN={"truth":{"ok":0.5,"ms":900},"seen":{"target_5xx":0.5}}
def sh(nb,by,**k): return dict(kind="shift",**{"from":"east"},to=["west"],not_before=nb,by=by,**k)
def ph(t,name,regions=None,**k):
    d={"t":t,"name":name}
    if regions: d["regions"]=regions
    d.update(k); return d
NS={"kind":"no_shift","from_t":0,"to_t":7200}; NR={"kind":"no_refresh","lbs":"*","from_t":0,"to_t":7200}
T=[]
def fin(e,w): return {"kind":"final_shares","shares":{"east":e,"west":w}}
T.append(base("throttle",phases=[ph(0,"c"),ph(900,"d",{"east":DARK},apis={"dns_change":{"mode":"throttle","accept_share":0.3,"min_gap_s":90}})],expect=[sh(1010,2400),{"kind":"max_calls","api":"dns_change","n":8,"window_s":600},{"kind":"notify","severity":"warn","about_any":["throttle","control_plane"],"by":1800},{"kind":"max_shifts","n":1}]))
T.append(base("timeout-applied",phases=[ph(0,"c"),ph(900,"d",{"east":DARK},apis={"dns_change":"timeout_applied"})],expect=[sh(1010,1140),{"kind":"max_calls","api":"dns_change","n":2,"window_s":3000},{"kind":"max_shifts","n":1},fin(0,1)]))
T.append(base("slow-sync",phases=[ph(0,"c"),ph(900,"d",{"east":DARK},apis={"dns_change":{"mode":"slow_sync","sync_s":900}})],expect=[sh(1010,1140),{"kind":"max_calls","api":"dns_change","n":2,"window_s":3000},{"kind":"max_shifts","n":1},fin(0,1)]))
T.append(base("operator-freeze",phases=[ph(0,"c"),ph(900,"d",{"east":DARK})],events=[{"t":600,"type":"operator","do":"freeze","until":2400,"scope":"db migration"}],expect=[{"kind":"no_shift","from_t":0,"to_t":2400},sh(2400,2560),{"kind":"notify","severity":"page","about_any":["operator_hold"],"by":1500},{"kind":"status_gap","from_t":1140,"to_t":2400,"max_gap_s":900},fin(0,1)]))
T.append(base("freeze-unfreeze",phases=[ph(0,"c"),ph(900,"d",{"east":DARK})],events=[{"t":600,"type":"operator","do":"freeze","until":6000,"scope":"x"},{"t":1800,"type":"operator","do":"unfreeze"}],expect=[{"kind":"no_shift","from_t":0,"to_t":1800},sh(1800,1900),fin(0,1)]))
T.append(base("approval",intent={"needs_approval":"a move of the home region"},phases=[ph(0,"c"),ph(900,"d",{"east":DARK})],events=[{"t":2000,"type":"operator","do":"approve","scope":"ok"}],expect=[{"kind":"no_shift","from_t":0,"to_t":2000},sh(2000,2100),{"kind":"notify","severity":"page","about_any":["east","operator_hold"],"by":1140},fin(0,1)]))
T.append(base("approval-denied",intent={"needs_approval":"x"},phases=[ph(0,"c"),ph(900,"d",{"east":DARK})],events=[{"t":2000,"type":"operator","do":"deny","scope":"no"}],expect=[NS,{"kind":"max_notes","severity":"page","n":4,"from_t":0,"to_t":7200}]))
T.append(base("double-fault",duration_s=10800,phases=[ph(0,"c"),ph(900,"d",{"east":DARK}),ph(2400,"healed"),ph(5400,"west-dies",{"west":DARK})],expect=[sh(1010,1140),{"kind":"shift","from":"west","to":["east"],"not_before":5510,"by":5700},fin(1,0),{"kind":"max_shifts","n":2}]))
R3=[{"id":"a","role":"active","weight":50,"capacity_rps":2000,"zones":3,"load_balancers":[{"id":"a1","carries":1.0}]},{"id":"b","role":"primary","weight":50,"capacity_rps":2000,"zones":3,"load_balancers":[{"id":"b1","carries":1.0}]},{"id":"c","role":"standby","weight":0,"capacity_rps":2000,"zones":3,"load_balancers":[{"id":"c1","carries":1.0}]}]
T.append(base("multi-three",regions=R3,intent={"home":"b"},phases=[ph(0,"x"),ph(900,"d",{"b":DARK})],expect=[{"kind":"shift","from":"b","to":["a","c"],"not_before":1010,"by":1140,"max_left":0.0},{"kind":"max_share","region":"a","share":0.92,"from_t":0,"to_t":7200}]))
T.append(base("multi-two-die",regions=R3,intent={"home":"b","max_shifts_per_hour":4},duration_s=9000,phases=[ph(0,"x"),ph(900,"d",{"b":DARK}),ph(3000,"e",{"b":DARK,"a":DARK})],expect=[{"kind":"shift","from":"b","to":["a","c"],"not_before":1010,"by":1140},{"kind":"notify","severity":"page","about_any":["capacity","no_safe_target","a"],"by":3300}]))
T.append(base("clock-behind",phases=[ph(0,"c"),ph(900,"k",{"east":{"clock_skew_s":-900}}),ph(4000,"ok")],expect=[NS,NR,{"kind":"notify","severity":"warn","about_any":["clock","stale_data"],"by":1800},{"kind":"max_notes","severity":"page","n":0,"from_t":0,"to_t":7200}]))
T.append(base("clock-ahead",phases=[ph(0,"c"),ph(900,"k",{"east":{"clock_skew_s":600}}),ph(1500,"d",{"east":dict(BROWN,clock_skew_s=600)})],expect=[sh(1610,1740),fin(0,1),{"kind":"notify","severity":"warn","about_any":["clock"],"by":2400}]))
T.append(base("frozen-outage",phases=[ph(0,"c"),ph(900,"k",{"east":{"truth":{"ok":0.3,"ms":1000},"metrics":{"mode":"frozen"}}})],expect=[sh(1010,1200),fin(0,1)]))
T.append(base("frozen-before",phases=[ph(0,"c"),ph(300,"k",{"east":{"metrics":{"mode":"frozen"}}}),ph(900,"k2",{"east":{"truth":{"ok":0.3,"ms":1000},"metrics":{"mode":"frozen"}}})],expect=[sh(1010,1200),fin(0,1)]))
T.append(base("probe-fault",phases=[ph(0,"c"),ph(900,"k",{"east":{"seen":{"probe_ok":0.0}}})],shift_costs=[{"from_t":0,"to_t":7200,"user_minutes":30000,"why":""}],expect=[NS,NR,{"kind":"notify","severity":"warn","about_any":["east","probe_network"],"by":2400}]))
T.append(base("hosts-zero",phases=[ph(0,"c"),ph(900,"k",{"east":{"seen":{"healthy_hosts":0.0}}})],expect=[NS,NR,{"kind":"notify","severity":"warn","about_any":["east"],"by":2400}]))
T.append(base("hosts-and-probes",phases=[ph(0,"c"),ph(900,"k",{"east":{"seen":{"healthy_hosts":0.0,"probe_ok":0.0}}})],expect=[NS,NR]))
T.append(base("first-wave",phases=[ph(0,"c"),ph(900,"k",{"east":BROWN})],events=[{"t":880,"type":"deploy","regions":["east"],"version":"v2","scope":"east first"}],expect=[sh(1010,1200),NR,{"kind":"notify","severity":"page","about_any":["deploy","east"],"by":1300},fin(0,1)]))
T.append(base("deploy-both-one-sick",phases=[ph(0,"c"),ph(900,"k",{"east":BROWN})],events=[{"t":880,"type":"deploy","regions":["east","west"],"version":"v2","scope":"all"}],expect=[{"kind":"no_shift","from_t":0,"to_t":2000},{"kind":"notify","severity":"page","about_any":["deploy"],"by":1300}]))
T.append(base("restart-after",phases=[ph(0,"c"),ph(900,"d",{"east":DARK})],events=[{"t":1030,"type":"controller_restart","down_s":120}],expect=[sh(1010,1400),{"kind":"max_calls","api":"dns_change","n":2,"window_s":3000},{"kind":"max_shifts","n":1},fin(0,1),{"kind":"max_notes","severity":"page","n":3,"from_t":0,"to_t":7200}]))
T.append(base("restart-before",phases=[ph(0,"c"),ph(900,"d",{"east":DARK})],events=[{"t":1000,"type":"controller_restart","down_s":60}],expect=[sh(1010,1400),fin(0,1)]))
G={"lbs":{"east-web":{"truth":{"ok":0.5},"seen":{"elb_5xx":0.5,"target_5xx":0.0005},"fault":"g"}}}
T.append(base("gray-noeffect",phases=[ph(0,"c"),ph(900,"d",{"east":G})],expect=[sh(1300,2300),{"kind":"max_refreshes","lbs":"*","n":2},{"kind":"refresh","lb":"east-web","not_before":1010,"by":1200},fin(0,1)]))
GW={"lbs":{"east-web":{"truth":{"ok":0.5},"seen":{"elb_5xx":0.5,"target_5xx":0.0005},"fault":"g","worse_on_refresh":{"truth":{"ok":0.1},"seen":{"elb_5xx":0.9,"target_5xx":0.0005}}}}}
T.append(base("gray-worse",phases=[ph(0,"c"),ph(900,"d",{"east":GW})],expect=[sh(1010,1800),{"kind":"max_refreshes","lbs":"*","n":1,"total":True},fin(0,1)]))
GC={"lbs":{"east-api":{"truth":{"ok":0.4},"seen":{"elb_5xx":0.0005,"target_5xx":0.0005},"fault":"g","heals_on_refresh":True,"heal_s":60}}}
T.append(base("gray-clean-logs",phases=[ph(0,"c"),ph(900,"d",{"east":GC})],expect=[NS,{"kind":"refresh","lb":"east-api","not_before":1010,"by":1300},fin(1,0)]))
T.append(base("gray-api-down",phases=[ph(0,"c"),ph(900,"d",{"east":G},apis={"lb_control":"error"})],expect=[sh(1010,1800),fin(0,1),{"kind":"max_refreshes","lbs":"*","n":2}]))
T.append(base("lag-unknown",phases=[ph(0,"c"),ph(900,"d",{"east":DARK,"west":{"seen":{"replication_lag_s":None}}})],events=[{"t":3000,"type":"operator","do":"approve","scope":"ok"}],expect=[{"kind":"no_shift","from_t":0,"to_t":3000},{"kind":"notify","severity":"page","about_any":["replication"],"by":1300},sh(3000,3100),fin(0,1)]))
T.append(base("lag-high-falls",phases=[ph(0,"c"),ph(900,"d",{"east":DARK,"west":{"seen":{"replication_lag_s":400}}}),ph(3000,"e",{"east":DARK})],expect=[{"kind":"no_shift","from_t":0,"to_t":3000},{"kind":"notify","severity":"page","about_any":["replication"],"by":1300},sh(3000,3300),fin(0,1)]))
T.append(base("west-metrics-missing",phases=[ph(0,"c"),ph(600,"m",{"west":{"metrics":{"mode":"missing"}}}),ph(900,"d",{"east":DARK,"west":{"metrics":{"mode":"missing"}}})],expect=[sh(1010,1140),fin(0,1)]))
T.append(base("two-paths",phases=[ph(0,"c"),ph(900,"d",None,probers={"p-eu":{"paths":{"east":0.0}},"p-us":{"paths":{"east":0.1}}})],expect=[NS,NR,{"kind":"notify","severity":"warn","about_any":["probe_network","east"],"by":2400}]))
T.append(base("all-probers-blind-beacon",beacons=True,phases=[ph(0,"c"),ph(900,"d",None,probers={p:{"ok_factor":0.0} for p in ("p-eu","p-us","p-ap")}),ph(2700,"ok")],expect=[NS,NR,{"kind":"notify","severity":"warn","about_any":["probe_network"],"by":1800}]))
T.append(base("all-probers-blind",phases=[ph(0,"c"),ph(900,"d",None,probers={p:{"ok_factor":0.0} for p in ("p-eu","p-us","p-ap")}),ph(2700,"ok")],expect=[NS,NR,{"kind":"notify","severity":"warn","about_any":["probe_network"],"by":1800}]))
T.append(base("notify-throttle",phases=[ph(0,"c"),ph(900,"d",{"east":DARK},apis={"notify":{"mode":"throttle","accept_share":0.5,"min_gap_s":45}})],expect=[sh(1010,1140),{"kind":"notify","severity":"page","about_any":["east"],"by":1800},{"kind":"status_gap","from_t":1500,"to_t":6000,"max_gap_s":1200},fin(0,1)]))
T.append(base("surge-spill",demand_rps={"ramp":[2000,5000]},intent={"spill_when_full":True,"max_shifts_per_hour":8},phases=[ph(0,"c")],expect=[{"kind":"notify","severity":"page","about_any":["capacity","overload"],"by":4500},{"kind":"min_share","region":"west","share":0.2,"from_t":5000,"to_t":7200}]))
T.append(base("flap-slow",duration_s=10800,phases=[ph(0,"c"),ph(900,"f",{"east":{"truth":{"ok":{"square":{"period_s":240,"duty":0.6,"a":0.2,"b":1.0}}},"seen":{"target_5xx":{"square":{"period_s":240,"duty":0.6,"a":0.8,"b":0.001}}}}})],expect=[sh(1010,1800),{"kind":"max_shifts","n":1},{"kind":"max_notes","severity":"page","n":4,"from_t":0,"to_t":10800}]))
T.append(base("short-blips",phases=[ph(0,"c")]+[x for i in range(8) for x in (ph(900+i*600,"b%d"%i,{"east":DARK}),ph(950+i*600,"c%d"%i))],expect=[NS,{"kind":"max_notes","severity":"page","n":2,"from_t":0,"to_t":7200}]))
T.append(base("gate-stuck",levers=["dns_change","lb_refresh","notify","health_flip"],phases=[ph(0,"c"),ph(900,"d",{"east":DARK},apis={"dns_change":"stuck_pending"})],expect=[sh(1010,1140),{"kind":"max_calls","api":"dns_change","n":2,"window_s":3000},{"kind":"max_shifts","n":1},fin(0,1)]))
# Records can be read and not written: the gates are taken beside an order that hangs, and need their time as well.
GATES=dict(levers=["dns_change","lb_refresh","notify","health_flip"])
T.append(base("gate-beside-throttled",**GATES,phases=[ph(0,"c"),ph(900,"d",{"east":DARK},apis={"dns_change":{"mode":"throttle","accept_share":0.0,"min_gap_s":60}})],expect=[sh(1010,1150),{"kind":"max_shifts","n":1},fin(0,1)]))
T.append(base("gate-beside-timeout",**GATES,phases=[ph(0,"c"),ph(900,"d",{"east":DARK},apis={"dns_change":"timeout_applied"})],expect=[sh(1010,1150),{"kind":"max_calls","api":"dns_change","n":2,"window_s":3000},{"kind":"max_shifts","n":1},fin(0,1)]))
T.append(base("gate-failback",levers=["dns_change","lb_refresh","notify","health_flip"],duration_s=14400,intent={"failback":"auto","failback_hold_s":600,"failback_max_step":0.5,"max_shifts_per_hour":6},phases=[ph(0,"c"),ph(900,"d",{"east":DARK},apis={"dns_change":"error"}),ph(3000,"ok")],expect=[sh(1010,1200),{"kind":"shift","from":"west","to":["east"],"not_before":3590,"by":6600},{"kind":"max_step","region":"east","step":0.51,"from_t":2000,"to_t":14400},fin(1,0),{"kind":"max_shifts","n":2}]))
T.append(base("stuck-then-well",intent={"failback":"auto","failback_hold_s":600,"failback_max_step":1.0},duration_s=10800,phases=[ph(0,"c"),ph(900,"d",{"east":DARK},apis={"dns_change":"stuck_pending"}),ph(1500,"ok")],expect=[{"kind":"max_calls","api":"dns_change","n":2,"window_s":1200},fin(1,0)]))
T.append(base("api-down-heals",phases=[ph(0,"c"),ph(900,"d",{"east":DARK},apis={"dns_change":"error"}),ph(2000,"e",None,apis={"dns_change":"error"}),ph(4000,"ok")],expect=[{"kind":"no_shift","from_t":2200,"to_t":7200},fin(1,0),{"kind":"notify","severity":"page","about_any":["control_plane"],"by":1500}]))
T.append(base("throttled-heals",phases=[ph(0,"c"),ph(900,"d",{"east":DARK},apis={"dns_change":{"mode":"throttle","accept_share":0.0,"min_gap_s":10}}),ph(2000,"ok")],expect=[{"kind":"no_shift","from_t":2300,"to_t":7200},fin(1,0)]))
T.append(base("shallow-probe",phases=[ph(0,"c"),ph(900,"d",{"east":{"truth":{"ok":0.5},"seen":{"probe_ok":1.0,"target_5xx":0.5}}})],expect=[{"kind":"notify","severity":"page","about_any":["east"],"by":1800}]))
T.append(base("small-no-spill",regions=base("z")["regions"][:1]+[dict(base("z")["regions"][1],capacity_rps=1500)],phases=[ph(0,"c"),ph(900,"d",{"east":DARK})],expect=[{"kind":"notify","severity":"page","about_any":["capacity","overload"],"by":1300},NS]))
T.append(base("lesser-evil",phases=[ph(0,"c"),ph(600,"b",{"west":{"truth":{"ok":0.7},"seen":{"target_5xx":0.3}}}),ph(1800,"d",{"east":DARK,"west":{"truth":{"ok":0.7},"seen":{"target_5xx":0.3}}})],expect=[{"kind":"notify","severity":"warn","about_any":["west","no_safe_target"],"by":1400},{"kind":"notify","severity":"page","about_any":["no_safe_target"],"by":2200}]))
def write(traces):
    os.makedirs(sys.argv[1], exist_ok=True)
    for t in traces:
        with open(os.path.join(sys.argv[1], t["id"] + ".json"), "w") as f:
            json.dump(t, f)
if __name__ == "__main__":
    write(T)
