//go:build !vm

package flex

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// standInMount takes the place of mount(8) for filesystems that this machine's kernel lacks. It writes down all that it
// was given, and does what STAND_IN says.
const standInMount = `#!/bin/bash
notes=%NOTES%
mkdir -p "$notes"
echo $$ >"$notes/pid.$$"
printf '%s\0' "$0" "$@" >"$notes/argv"
cp /proc/self/environ "$notes/environ"
tr '\0' '\n' </proc/$PPID/cmdline >"$notes/parent"
[ -z "$PASSWD_FD" ] || cat <&"$PASSWD_FD" >"$notes/password"
target=${!#}
case $STAND_IN in
hang) trap '' TERM INT HUP; sleep 1000 & sleep 1001 ;;
holds-stdout) sleep 30 & exit 1 ;;
fails) echo "mount.nfs: access denied by server while mounting" >&2; exit 32 ;;
lies) exit 0 ;;
repeats-password) cat "$notes/password"; exit 32 ;;
other) mount -t tmpfs "$(printf '%s' "${@: -2:1}")" "$target" ;;
late) mount -t tmpfs x "$target"; trap '' TERM; sleep 1000 ;;
no-version) case "$*" in *vers=4*) echo "mount.nfs: Protocol not supported" >&2; exit 32 ;; esac; echo "version 3 tried" >&2; exit 32 ;;
esac
`

// standIn puts the program into the node's path.
func (n *node) standIn() {
	n.Helper()
	n.path = filepath.Join(n.dir, "bin")
	must(n, os.MkdirAll(n.path, 0o755))
	script := strings.ReplaceAll(standInMount, "%NOTES%", n.notes())
	script = strings.ReplaceAll(script, "mount -t tmpfs", "/bin/mount -t tmpfs")
	must(n, os.WriteFile(n.path+"/mount.new", []byte(script), 0o755), os.Rename(n.path+"/mount.new", n.path+"/mount"))
}

func (n *node) notes() string { return filepath.Join(n.dir, "notes") }

// argv is what the program was given last.
func (n *node) argv() []string {
	n.Helper()
	return strings.Split(strings.TrimSuffix(n.read(n.notes()+"/argv"), "\x00"), "\x00")[1:]
}

// forget removes what the program has written down.
func (n *node) forget() { must(n, os.RemoveAll(n.notes())) }

// standIns are the process ids under which it runs now.
func (n *node) standIns() (pids []int) {
	files, err := filepath.Glob(n.notes() + "/pid.*")
	must(n, err)
	for _, f := range files {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Ext(f), "."))
		must(n, err)
		if alive(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func alive(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && syscall.Kill(pid, 0) == nil && !strings.Contains(string(data), ") Z ")
}

func nowTenths() int64 { return time.Now().UnixNano() / 1e5 }

func sleepTenths(tenths int) { time.Sleep(time.Duration(tenths) * 100 * time.Microsecond) }
