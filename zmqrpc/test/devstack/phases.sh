#!/bin/bash
# shellcheck disable=SC2034,SC2119,SC2154,SC1091,SC1090 # DevStack and the plugin use what is set here, and the rest is theirs
#
# Runs a plugin as DevStack does:   phases.sh PROGRAM
#
# PROGRAM is one of `stack`, `unstack`, `clean`, for DevStack's programs of these names with nothing in them but the phases
# and the calls of services; or `settings`, which prints variables after the phase `source`; or a file of commands to source.
# SCRATCH is the directory in which everything happens, and DEVSTACK a checkout of DevStack; empty for the doubles.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOP_DIR=$SCRATCH/devstack
FILES=$TOP_DIR/files
DEST=$SCRATCH/stack
DATA_DIR=$DEST/data
REQUIREMENTS_DIR=$DEST/requirements
STACK_USER=$(id -un)
GLOBAL_VENV=True
DEVSTACK_VENV=$DATA_DIR/venv
PYTHON3_VERSION=3
SYSTEMD_DIR=$SCRATCH/systemd
SYSTEMCTL="sudo systemctl"
SERVICE_IP_VERSION=${SERVICE_IP_VERSION:-4}

if [[ -n "$DEVSTACK" ]]; then
    source "$DEVSTACK/functions"
else
    source "$HERE/doubles.sh"
fi
GetDistro

# As stackrc does; the services are those of a cloud that are about messages.
ENABLED_SERVICES=${ENABLED_SERVICES-key,n-api,n-cpu,n-cond,n-sch,g-api,c-api,c-vol,q-svc,rabbit,mysql,etcd3}
if [[ -f "$TOP_DIR/local.conf" ]]; then
    extract_localrc_section "$TOP_DIR/local.conf" "$TOP_DIR/localrc" "$TOP_DIR/.localrc.auto"
    source "$TOP_DIR/.localrc.auto"
fi
ENABLE_DEBUG_LOG_LEVEL=$(trueorfalse True ENABLE_DEBUG_LOG_LEVEL)
HOST_IP=${HOST_IP:-127.0.0.1}
HOST_IPV6=${HOST_IPV6:-}
if [[ "$SERVICE_IP_VERSION" == 6 ]]; then
    SERVICE_HOST=${SERVICE_HOST:-[$HOST_IPV6]}
else
    SERVICE_HOST=${SERVICE_HOST:-$HOST_IP}
fi
disable_negated_services

CONF=$SCRATCH/etc

# Configure services with the calls that DevStack's files of their names have.
function configure_services {
    mkdir -p "$CONF"
    iniset_rpc_backend keystone "$CONF/keystone.conf" oslo_messaging_notifications
    iniset "$CONF/glance-api.conf" oslo_messaging_notifications driver messagingv2
    iniset_rpc_backend glance "$CONF/glance-api.conf"
    iniset_rpc_backend cinder "$CONF/cinder.conf"
    iniset "$CONF/proxy-server.conf" filter:ceilometer url "$(get_notification_url)"
    iniset "$CONF/nova.conf" oslo_messaging_notifications driver messagingv2
    iniset "$CONF/nova.conf" oslo_messaging_notifications transport_url "$(get_notification_url)"
    iniset_rpc_backend nova "$CONF/nova.conf"
    local cell
    if is_service_enabled n-cond; then
        for cell in $(seq 1 "${NOVA_NUM_CELLS:-1}"); do
            if [[ "${CELLSV2_SETUP:-superconductor}" == singleconductor ]]; then
                iniset_rpc_backend nova "$CONF/nova_cell$cell.conf" DEFAULT
            else
                rpc_backend_add_vhost "nova_cell$cell"
                iniset_rpc_backend nova "$CONF/nova_cell$cell.conf" DEFAULT "nova_cell$cell"
            fi
        done
    fi
    iniset_rpc_backend neutron "$CONF/neutron.conf"
}

# Start what DevStack starts after the phase post-config.
function start_services {
    if is_service_enabled n-cpu; then
        cp "$CONF/nova.conf" "$CONF/nova-cpu.conf"
        if [[ "${CELLSV2_SETUP:-superconductor}" != singleconductor ]]; then
            iniset_rpc_backend nova "$CONF/nova-cpu.conf" DEFAULT "nova_cell${NOVA_CPU_CELL:-1}"
        fi
    fi
}

function source_rpc_backend {
    if [[ -n "$DEVSTACK" ]]; then
        source "$DEVSTACK/lib/rpc_backend"
    fi
}

case "$1" in
    stack)
        # As stack.sh, which alone has this function.
        function echo_summary {
            echo "$@"
        }
        trap 'echo "${BASH_SOURCE[0]}:$LINENO: $BASH_COMMAND failed" >&2; exit 70' ERR
        set -o errexit
        source_rpc_backend
        run_phase source
        SERVICE_PASSWORD=${SERVICE_PASSWORD:-read}
        run_phase stack pre-install
        configure_services
        run_phase stack install
        run_phase stack post-config
        start_services
        run_phase stack extra
        ;;
    unstack)
        load_plugin_settings
        run_phase unstack
        ;;
    clean)
        source_rpc_backend
        load_plugin_settings
        run_phase clean
        ;;
    settings)
        set -o errexit
        source_rpc_backend
        run_phase source
        declare -p ENABLED_SERVICES "${!ZEROMQ@}" MATCHMAKER_REDIS_HOST
        ;;
    *)
        source_rpc_backend
        source "$1"
        ;;
esac
