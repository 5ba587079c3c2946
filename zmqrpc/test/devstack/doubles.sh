# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # the plugin uses what is set here, and phases.sh sets the rest
#
# Stands for the functions of DevStack that the plugin and phases.sh use, and does what they do with what these give it.
# test_doubles.py compares both.

declare -A GITREPO GITBRANCH GITDIR
DEVSTACK_PLUGINS=${DEVSTACK_PLUGINS:-}
DISABLED_SERVICES=${DISABLED_SERVICES:-}

# Ends
# ----

function die {
    shift
    echo "[ERROR] $*" >&2
    exit 1
}

function warn {
    echo "[WARNING] $2"
}

function exit_distro_not_supported {
    die 0 "Support for $DISTRO is incomplete: no support for $*"
}

# Values
# ------

function trueorfalse {
    case "${!2:-}" in
        1 | [Yy]es | YES | [Tt]rue | TRUE) echo True ;;
        0 | [Nn]o | NO | [Ff]alse | FALSE) echo False ;;
        *) echo "$1" ;;
    esac
}

function ipv6_unquote {
    echo "${1//[\[\]]/}"
}

# The distribution
# ----------------

function GetDistro {
    os_VENDOR=$(lsb_release -i -s)
    os_RELEASE=$(lsb_release -r -s)
    case "$os_VENDOR" in
        Debian | Ubuntu) DISTRO=$(lsb_release -c -s) ;;
        Fedora) DISTRO=f$os_RELEASE ;;
        CentOSStream) DISTRO=rhel${os_RELEASE%%.*} ;;
        openEuler) DISTRO=openEuler-$os_RELEASE ;;
    esac
}

function is_ubuntu {
    [[ "$os_VENDOR" == Debian || "$os_VENDOR" == Ubuntu ]]
}

function is_fedora {
    [[ "$os_VENDOR" == Fedora || "$os_VENDOR" == CentOSStream || "$os_VENDOR" == openEuler ]]
}

function is_package_installed {
    if is_ubuntu; then
        dpkg -s "$@" >/dev/null 2>&1
    else
        rpm --quiet -q "$@"
    fi
}

function install_package {
    if [[ "${OFFLINE:-}" == True ]]; then
        return
    fi
    if is_ubuntu; then
        sudo apt-get --option Dpkg::Options::=--force-confold --assume-yes install "$@"
    else
        sudo dnf install -y "$@"
    fi
}

function stop_service {
    sudo systemctl stop "$1"
}

# Python
# ------

function get_python_exec_prefix {
    if [[ "$GLOBAL_VENV" == True ]]; then
        echo "$DEVSTACK_VENV/bin"
    else
        echo /usr/local/bin
    fi
}

function pip_install {
    if [[ "${OFFLINE:-}" == True ]]; then
        return
    fi
    "$DEVSTACK_VENV/bin/pip" install -c "$REQUIREMENTS_DIR/upper-constraints.txt" "$@"
}

# Files
# -----

# Read a file into LINES, of which those of a section are from FIRST to before LAST: _ini_read file section
function _ini_read {
    local index
    LINES=()
    FIRST=-1
    LAST=-1
    if [[ -f "$1" ]]; then
        mapfile -t LINES <"$1"
    fi
    for index in "${!LINES[@]}"; do
        if [[ "${LINES[index]}" == "[$2]"* ]]; then
            FIRST=$((index + 1))
        elif [[ "${LINES[index]}" == "["* && $FIRST -ge 0 ]]; then
            LAST=$index
            return
        fi
    done
    LAST=${#LINES[@]}
}

# Write LINES into a file, by sudo where the first argument is -sudo: _ini_write [-sudo] file
function _ini_write {
    if [[ "$1" == -sudo ]]; then
        printf '%s\n' "${LINES[@]}" | sudo tee "$2" >/dev/null
    else
        printf '%s\n' "${LINES[@]}" >"$1"
    fi
}

function iniset {
    local as=()
    local value
    local index
    local found=""
    if [[ "$1" == -sudo ]]; then
        as=(-sudo)
        shift
    fi
    if [[ -z "$2" || -z "$3" ]]; then
        return
    fi
    # As DevStack does, which has files that the value may mean, and its spaces, come out so.
    # shellcheck disable=SC2086,SC2116
    value=$(echo ${4:-})
    _ini_read "$1" "$2"
    if [[ $FIRST -lt 0 ]]; then
        LINES+=("" "[$2]" "$3 = $value")
    else
        for ((index = FIRST; index < LAST; index++)); do
            if [[ "${LINES[index]}" =~ ^$3[[:blank:]]*=[[:blank:]]* ]]; then
                LINES[index]=${BASH_REMATCH[0]}$value
                found=yes
            fi
        done
        if [[ -z "$found" ]]; then
            LINES=("${LINES[@]:0:FIRST}" "$3 = $value" "${LINES[@]:FIRST}")
        fi
    fi
    _ini_write "${as[@]}" "$1"
}

function inidelete {
    local as=()
    local index
    if [[ "$1" == -sudo ]]; then
        as=(-sudo)
        shift
    fi
    _ini_read "$1" "$2"
    if [[ $FIRST -lt 0 || -z "$2" || -z "$3" ]]; then
        return
    fi
    for ((index = FIRST; index < LAST; index++)); do
        if [[ "${LINES[index]}" =~ ^$3[[:blank:]]*= ]]; then
            unset "LINES[index]"
        fi
    done
    _ini_write "${as[@]}" "$1"
}

function iniget {
    local index
    local value=""
    _ini_read "$1" "$2"
    for ((index = FIRST; index >= 0 && index < LAST; index++)); do
        if [[ "${LINES[index]}" =~ ^$3[[:blank:]]*= ]]; then
            value=${LINES[index]#*=}
        fi
    done
    # shellcheck disable=SC2086
    echo $value
}

# extract_localrc_section local.conf localrc .localrc.auto
function extract_localrc_section {
    awk '/^\[\[/ { inside = $1 == "[[local|localrc]]"; next } inside { print }' "$1" >"$3"
}

# Services
# --------

function is_service_enabled {
    local service
    for service in "$@"; do
        if [[ ",$ENABLED_SERVICES," == *",$service,"* ]]; then
            return 0
        fi
    done
    return 1
}

# Print a list of services without those of another: _without list others
function _without {
    local service
    local kept=""
    for service in ${1//,/ }; do
        if [[ ",$2," != *",$service,"* ]]; then
            kept+=",$service"
        fi
    done
    echo "${kept#,}"
}

function disable_negated_services {
    local service
    local negated=""
    for service in ${ENABLED_SERVICES//,/ }; do
        if [[ "$service" == -* ]]; then
            negated+=",$service,${service#-}"
        fi
    done
    ENABLED_SERVICES=$(_without "$ENABLED_SERVICES" "$negated")
}

function enable_service {
    local service
    for service in "$@"; do
        if [[ ",$DISABLED_SERVICES," == *",$service,"* ]]; then
            warn 0 "Attempt to enable_service $service when it has been disabled"
        elif ! is_service_enabled "$service"; then
            ENABLED_SERVICES+=",$service"
        fi
    done
    ENABLED_SERVICES=${ENABLED_SERVICES#,}
    disable_negated_services
}

function disable_service {
    local service
    for service in "$@"; do
        DISABLED_SERVICES+=",$service"
        ENABLED_SERVICES=$(_without "$ENABLED_SERVICES" "$service")
    done
    DISABLED_SERVICES=${DISABLED_SERVICES#,}
}

function verify_disabled_services {
    local service
    for service in ${ENABLED_SERVICES//,/ }; do
        if [[ ",$DISABLED_SERVICES," == *",$service,"* ]]; then
            die 0 "ENABLED_SERVICES directly modified to overcome 'disable_service $service'"
        fi
    done
}

function run_process {
    local unit="devstack@$1.service"
    if ! is_service_enabled "$1"; then
        return
    fi
    if [[ "$2" != /* || "$2" == *sudo* ]]; then
        die 0 "The cmd=\"$2\" does not start with an absolute path."
    fi
    mkdir -p "$SYSTEMD_DIR"
    iniset -sudo "$SYSTEMD_DIR/$unit" Unit Description "Devstack $unit"
    iniset -sudo "$SYSTEMD_DIR/$unit" Service Environment "\"PATH=$PATH\""
    iniset -sudo "$SYSTEMD_DIR/$unit" Service User "${4:-$STACK_USER}"
    iniset -sudo "$SYSTEMD_DIR/$unit" Service ExecStart "$2"
    iniset -sudo "$SYSTEMD_DIR/$unit" Service KillMode process
    iniset -sudo "$SYSTEMD_DIR/$unit" Service TimeoutStopSec 300
    iniset -sudo "$SYSTEMD_DIR/$unit" Service ExecReload "$(type -P kill) -HUP \$MAINPID"
    iniset -sudo "$SYSTEMD_DIR/$unit" Install WantedBy multi-user.target
    $SYSTEMCTL daemon-reload
    $SYSTEMCTL enable "$unit"
    $SYSTEMCTL start "$unit"
}

function stop_process {
    local unit="devstack@$1.service"
    if is_service_enabled "$1" && $SYSTEMCTL is-enabled "$unit"; then
        $SYSTEMCTL stop "$unit"
        $SYSTEMCTL disable "$unit"
    fi
}

# Plugins
# -------

function define_plugin {
    :
}

function enable_plugin {
    if [[ ",$DEVSTACK_PLUGINS," == *",$1,"* ]]; then
        die 0 "Plugin attempted to be enabled twice: $1 $2 ${3:-master}"
    fi
    DEVSTACK_PLUGINS+=",$1"
    GITREPO[$1]=$2
    GITDIR[$1]=$DEST/$1
    GITBRANCH[$1]=${3:-master}
}

# Source a file of each plugin that has it: _of_plugins file [argument ...]
function _of_plugins {
    local plugin
    local file=$1
    shift
    for plugin in ${DEVSTACK_PLUGINS//,/ }; do
        if [[ -f "${GITDIR[$plugin]}/devstack/$file" ]]; then
            # shellcheck disable=SC1090
            source "${GITDIR[$plugin]}/devstack/$file" "$@"
        fi
    done
}

function load_plugin_settings {
    echo "Loading plugin settings"
    _of_plugins settings
}

function run_phase {
    if [[ "$1" == source ]]; then
        load_plugin_settings
        verify_disabled_services
    else
        _of_plugins plugin.sh "$@"
    fi
}

# RabbitMQ: lib/rpc_backend of DevStack
# -------------------------------------

function rpc_backend_add_vhost {
    echo "RPC backend does not support vhosts"
    return 1
}

function get_transport_url {
    if is_service_enabled rabbit; then
        echo "rabbit://stackrabbit:$RABBIT_PASSWORD@$SERVICE_HOST:5672/${1:-}"
    fi
}

function get_notification_url {
    get_transport_url "$@"
}

function iniset_rpc_backend {
    if is_service_enabled rabbit; then
        iniset "$2" "${3:-DEFAULT}" transport_url "$(get_transport_url "${4:-}")"
    fi
}
