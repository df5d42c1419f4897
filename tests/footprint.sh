#!/usr/bin/env bash
# What an idle sidecar costs: start to first answer, resident memory and size of the binary.
# Usage: tests/footprint.sh [BINARY]     (default: target/release/leeward)
set -euo pipefail
binary=${1:-target/release/leeward}
here=$(mktemp -d)
trap 'kill "${pid:-}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$here"' EXIT
cat > "$here/shop.yaml" <<'YAML'
version: 1
service: shop
mode: observe
regions:
  east: { role: primary, weight: 100, balancers: { web-east: { carries: 100%, connect: 127.0.0.1 } } }
  west: { role: standby, weight: 0, balancers: { web-west: { carries: 100%, connect: 127.0.0.2 } } }
vantages: { here: {} }
levers:
  - weights:
      records:
        - { zone: Z0123456789ABC, name: api.example.com, types: [A], members: { east: east, west: west } }
      epoch_record: { zone: Z0123456789ABC, name: _leeward.api.example.com }
      ttl: 60s
      in_sync_within: 5m
      readback: none
signals:
  outside:
    class: outside
    fresh_for: 30s
    probe:
      protocol: http
      host: api.example.com
      port: 9
      path: /
      every: 5s
      timeout: { connect: 1s, tls: 1s, first_byte: 1s, body: 1s }
      expect: { status: [200-299] }
judge: { success_below: 95%, window: 60s, sustain: 2m, vantages: 1, classes: 1, healthy_hosts_below: 50% }
shift: { ramp: [100%], hold: 2m, spare: 10%, overflow: spill, last_resort: never, unready: hold }
failback: manual
guards: { cooldown: 10m, shifts: { max: 2, within: 1h }, latch: { after: 4, within: 24h }, standby_healthy_hosts: 70% }
YAML
# Nothing answers at these endpoints; builds without the AWS edge know no endpoints.
environment=(AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test)
said=$("$binary" plan "$here/shop.yaml" --for 0s --endpoint route53=http://127.0.0.1:1 2>&1 || true)
if [[ $said == *"no AWS edge that"* ]]; then
    edge="without AWS"
else
    edge="with AWS"
    environment+=(LEEWARD_ENDPOINTS=route53=http://127.0.0.1:1)
fi
starts=()
for attempt in 1 2 3 4 5; do
    port=$((20000 + RANDOM % 20000))
    begun=$(date +%s%N)
    env "${environment[@]}" "$binary" run "$here/shop.yaml" --state "$here/state$attempt" \
        --listen "127.0.0.1:$port" 2>/dev/null &
    pid=$!
    until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        kill -0 "$pid"
        sleep 0.002
    done
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf 'GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n' >&3
    read -r answer <&3
    ended=$(date +%s%N)
    exec 3>&-
    [[ $answer == *200* ]] || { echo "answered: $answer"; exit 1; }
    starts+=($(((ended - begun) / 1000000)))
    if [ "$attempt" -lt 5 ]; then kill "$pid"; wait "$pid" || true; fi
done
sleep 15
resident=$(awk '/^VmRSS/ {print $2}' "/proc/$pid/status")
peak=$(awk '/^VmHWM/ {print $2}' "/proc/$pid/status")
cpu=$(awk '{print ($14 + $15) * 10}' "/proc/$pid/stat")
size=$(stat -c %s "$binary")
printf 'build            %s\n' "$edge"
printf 'start to answer  %s ms, best of 5: %s ms (aim: 50)\n' "${starts[*]}" "$(printf '%s\n' "${starts[@]}" | sort -n | head -1)"
awk -v r="$resident" -v p="$peak" 'BEGIN { printf "resident         %.1f MiB after 15 s, peak %.1f MiB (aim: 15)\n", r / 1024, p / 1024 }'
printf 'processor        %s ms in the first 15 s\n' "$cpu"
awk -v s="$size" 'BEGIN { printf "binary           %.1f MiB (aim: 25 with AWS)\n", s / 1048576 }'
