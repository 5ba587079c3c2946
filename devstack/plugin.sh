#!/bin/bash
# shellcheck disable=SC2154 # DevStack sets what is not set here
#
# devstack/plugin.sh - run by DevStack in each of its phases, with the phase as arguments
#
# Before the first phase DevStack has sourced `settings` beside this file.
#
# In lib/ a function uses those of its own file and of the ones sourced before it, and nothing is done when a file is sourced.
# stack.sh ends when a command fails, so that a condition is an `if`. Bash does not keep to that inside $(): a function that
# runs there, and has to end where a command of it fails, says `|| return`.

_XTRACE_ZEROMQ=$(set +o | grep xtrace)
set +o xtrace

# shellcheck source=lib/check
source "$ZEROMQ_DIR/devstack/lib/check"
# shellcheck source=lib/secret
source "$ZEROMQ_DIR/devstack/lib/secret"
# shellcheck source=lib/url
source "$ZEROMQ_DIR/devstack/lib/url"
# shellcheck source=lib/option
source "$ZEROMQ_DIR/devstack/lib/option"
# shellcheck source=lib/redis
source "$ZEROMQ_DIR/devstack/lib/redis"
# shellcheck source=lib/store
source "$ZEROMQ_DIR/devstack/lib/store"
# shellcheck source=lib/proxy
source "$ZEROMQ_DIR/devstack/lib/proxy"
# shellcheck source=lib/installation
source "$ZEROMQ_DIR/devstack/lib/installation"
if is_service_enabled zeromq; then
    # From the phase pre-install on, that is before any service is configured.
    # shellcheck source=lib/rpc_backend
    source "$ZEROMQ_DIR/devstack/lib/rpc_backend"
fi

$_XTRACE_ZEROMQ

if is_service_enabled zeromq; then
    case "${1:-} ${2:-}" in
        "stack pre-install")
            zeromq_check
            ;;
        "stack install")
            echo_summary "Installing zmqrpc"
            # Of an earlier stack.sh.
            zeromq_stop
            zeromq_install
            # Keystone starts before the next phase.
            zeromq_start_store
            ;;
        "stack post-config")
            echo_summary "Starting the proxies of zmqrpc"
            zeromq_start_proxies
            ;;
        "stack extra")
            echo_summary "Messages go by ZeroMQ: $ZEROMQ_TOPOLOGY, $ZEROMQ_MATCHMAKER; see $ZEROMQ_BIN_DIR/zmqrpc ls --config-file $(zeromq_conf)"
            ;;
        "unstack ")
            zeromq_stop
            ;;
        "clean ")
            # clean.sh has run unstack.sh before.
            zeromq_clean
            ;;
    esac
fi
