# To be sourced: what is looked at on this side of the containers.

failures=0

# WHAT COMMAND…: says whether the command succeeds, and else what it said.
check() {
    local what=$1 said
    shift
    if said=$("$@" 2>&1); then
        echo "  ok    $what"
    else
        echo "  FAIL  $what"
        tail -15 <<<"$said" | sed 's/^/        /'
        failures=$((failures + 1))
    fi
}
