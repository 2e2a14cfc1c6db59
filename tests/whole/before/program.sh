# Fails until the file "mended" stands beside it.
[ -e "$(dirname "$0")/mended" ] || { echo "not mended" >&2; exit 1; }
echo '{"loss": {"value": 0.5, "stderr": 0.1}, "cost": 2}' > "$2"
