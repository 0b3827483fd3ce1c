// Package cifs is the FlexVolume driver for SMB: it mounts a share of a server. It
// hands the password on so that nobody sees it; the kubelet has shown it, in base64,
// among the arguments of the call.
package cifs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/hostvol/hostvol/pkg/flex"
	"github.com/hostvol/hostvol/pkg/flex/mountopt"
)

// Backend is the driver.
type Backend struct{}

// Capabilities implements flex.Backend. Files belong to whom the mount says, so that
// a change of their owner would fail; the pod's group goes into the mount.
func (Backend) Capabilities() flex.Capabilities { return flex.Capabilities{} }

// Mount implements flex.Backend.
func (Backend) Mount(ctx context.Context, target *flex.Target, o flex.Options) error {
	remote, password, err := share(o)
	if err != nil {
		return err
	}
	if password != nil {
		secret, err := given(*password)
		if err != nil {
			return err
		}
		defer secret.Close() //nolint:errcheck // a pipe
		remote.Files = append(remote.Files, secret)
		remote.Env = append(remote.Env, "PASSWD_FD="+strconv.Itoa(flex.RemoteFD))
	}
	return remote.Mount(ctx, target)
}

// share reads the options and the Secret. password is nil for a guest.
func share(o flex.Options) (remote flex.Remote, password *flex.Secret, err error) {
	picked, err := o.Pick("networkPath|source", "server", "share", "mountOptions|opts")
	if err != nil {
		return remote, nil, err
	}
	source, err := sourceOf(picked[0], picked[1], picked[2])
	if err != nil {
		return remote, nil, err
	}
	if o.FSType != "" && o.FSType != "cifs" && o.FSType != "smb3" {
		return remote, nil, fmt.Errorf("fsType %q is not cifs; leave it out", o.FSType)
	}
	options, readOnly, err := allowed().Parse(picked[3])
	if err != nil {
		return remote, nil, err
	}
	for _, option := range options {
		if strings.HasPrefix(option, "sec=krb5") {
			return remote, nil, errors.New("mount option sec=krb5 would use the node's own credentials; it is not allowed")
		}
	}
	login, password, err := credentials(o.Secrets, mountopt.Has(options, "guest"))
	if err != nil {
		return remote, nil, err
	}
	options = append(options, login...)
	if o.FSGroup != nil && !mountopt.Has(options, "gid") {
		options = append(options, "gid="+strconv.FormatInt(*o.FSGroup, 10), "forcegid")
		if !mountopt.Has(options, "file_mode") {
			options = append(options, "file_mode=0660")
		}
		if !mountopt.Has(options, "dir_mode") {
			options = append(options, "dir_mode=0770")
		}
	}
	return flex.Remote{Types: []string{"cifs", "smb3"}, Source: source, Options: options, ReadOnly: readOnly || o.ReadOnly}, password, nil
}

// sourceOf makes //server/share of one of the two ways to say it.
func sourceOf(path, server, name string) (string, error) {
	if path != "" && (server != "" || name != "") {
		return "", errors.New("give either networkPath, or server and share")
	}
	if path != "" {
		plain := strings.ReplaceAll(path, `\`, "/") // as Windows writes it
		rest, ok := strings.CutPrefix(plain, "//")
		if !ok {
			return "", fmt.Errorf("networkPath %q is not of the form //server/share", path)
		}
		server, name, _ = strings.Cut(rest, "/")
	}
	name = strings.Trim(name, "/")
	if server == "" || name == "" {
		return "", errors.New("the option networkPath (//server/share), or server and share, is required")
	}
	host, err := flex.Server(server)
	if err != nil {
		return "", err
	}
	if err := flex.SharePath(name); err != nil {
		return "", err
	}
	return "//" + strings.Trim(host, "[]") + "/" + name, nil
}

// passwordLimit is the longest password that mount.cifs takes, in bytes.
const passwordLimit = 511

// credentials makes options of the Secret. User and domain are seen by all on the
// node, as the command line of mount(8) and in its mount table; the password is not.
func credentials(secrets map[string]flex.Secret, guest bool) (options []string, password *flex.Secret, err error) {
	for _, one := range []struct{ key, option string }{{"username", "username"}, {"domain", "domain"}} {
		value, given := secrets[one.key]
		text := oneLine(value)
		switch {
		case !given || text == "" && one.key == "domain":
			continue
		case text == "" || strings.Contains(text, ",") || strings.ContainsFunc(text, unicode.IsControl):
			return nil, nil, fmt.Errorf("the Secret's %s is empty, or has a comma or a control character, which mount.cifs cannot take", one.key)
		}
		options = append(options, one.option+"="+text)
	}
	secret, given := secrets["password"]
	text := oneLine(secret)
	switch {
	case guest && (given || len(options) > 0):
		return nil, nil, errors.New("mount option guest, and a Secret with a user: give one")
	case guest:
		return nil, nil, nil
	case len(secrets) > 0 && secrets["username"] == nil:
		return nil, nil, errors.New("the volume's Secret has no key username")
	case len(secrets) == 0:
		return nil, nil, errors.New("there is no user: give the volume a secretRef (its Secret must have the driver's name as type, and the keys username and password), or the mount option guest")
	case strings.ContainsAny(text, "\x00\n\r"):
		return nil, nil, errors.New("the Secret's password has a line break or a zero byte, which mount.cifs cannot take")
	case len(text) > passwordLimit:
		return nil, nil, fmt.Errorf("the Secret's password has more than the %d bytes that mount.cifs takes", passwordLimit)
	}
	pass := flex.Secret(text)
	return options, &pass, nil
}

// oneLine takes one line break off the end, which editors and echo(1) put there.
func oneLine(s flex.Secret) string {
	return strings.TrimSuffix(strings.TrimSuffix(string(s), "\n"), "\r")
}

func allowed() mountopt.List {
	secret := "credentials come from the volume's Secret"
	return mountopt.List{
		Flags: []string{
			"guest", "forceuid", "noforceuid", "forcegid", "noforcegid", "nounix", "noserverino", "serverino", "mfsymlinks", "nobrl", "brl", "noperm", "perm",
			"dynperm", "seal", "soft", "hard", "nostrictsync", "strictsync", "noacl", "cifsacl", "sfu", "nocase", "ignorecase", "mapposix", "mapchars", "nomapchars",
			"fsc", "persistenthandles", "nopersistenthandles", "resilienthandles", "noresilienthandles", "nohandlecache", "handlecache", "multichannel", "nodfs",
			"sync", "async", "noatime", "relatime", "nodiratime", "exec", "noexec", "nosuid", "nodev", "nolease", "posixpaths", "noposixpaths", "modefromsid", "idsfromsid",
		},
		Values: []string{
			"vers", "sec", "uid", "gid", "file_mode", "dir_mode", "port", "iocharset", "cache", "actimeo", "acdirmax", "acregmax", "rsize", "wsize", "bsize", "rasize",
			"echo_interval", "max_channels", "max_credits", "handletimeout", "closetimeo", "retrans", "snapshot", "netbiosname", "servern", "symlink", "reparse",
		},
		Either: [][]string{{"soft", "hard"}, {"perm", "noperm"}, {"brl", "nobrl"}, {"serverino", "noserverino"}, {"exec", "noexec"}, {"sync", "async"}},
		Reasons: map[string]string{
			"user": secret, "username": secret, "pass": secret, "password": secret, "password2": secret, "credentials": secret, "cred": secret, "domain": secret, "dom": secret, "workgroup": secret,
			"suid": "it is the default; leave it out", "dev": "it is the default; leave it out", "_netdev": "it is for /etc/fstab; leave it out",
			"multiuser": "each process would log in by itself; pods have no credentials",
			"ip":        "give it as the server", "addr": "give it as the server", "unc": "give it as networkPath", "prefixpath": "give it as networkPath",
		},
	}
}
