// Package nfs is the FlexVolume driver for NFS: it mounts what a server exports. It
// keeps nothing, and knows no volume of hostvol's.
package nfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/klog/v2"

	"github.com/hostvol/hostvol/pkg/flex"
	"github.com/hostvol/hostvol/pkg/flex/mountopt"
)

// Backend is the driver.
type Backend struct{}

// Capabilities implements flex.Backend. The owner of files is the server's to
// decide, and a server that is away would hold up what asks for sizes.
func (Backend) Capabilities() flex.Capabilities { return flex.Capabilities{} }

// Mount implements flex.Backend.
func (Backend) Mount(ctx context.Context, target *flex.Target, o flex.Options) error {
	remote, fallback, err := export(o)
	if err != nil {
		return err
	}
	err = remote.Mount(ctx, target)
	if err == nil || !fallback || !unspoken(err) {
		return err
	}
	klog.FromContext(ctx).Info("The server does not speak NFS 4; trying version 3", "source", remote.Source)
	remote.Options = append(remote.Options[:len(remote.Options)-1:len(remote.Options)-1], "vers=3")
	if again := remote.Mount(ctx, target); again != nil {
		return errors.Join(again, fmt.Errorf("and before that with version 4: %w", err))
	}
	return nil
}

// unspoken tells that a server does not speak the version that was tried, as
// mount.nfs(8) puts it.
func unspoken(err error) bool {
	text := err.Error()
	return strings.Contains(text, "rotocol not supported") || strings.Contains(text, "protocol is not supported")
}

// export reads the options. fallback tells that nobody has said which version is
// wanted; then the last option is that of version 4.
func export(o flex.Options) (remote flex.Remote, fallback bool, err error) {
	picked, err := o.Pick("server", "share", "mountOptions|opts", "protocol")
	if err != nil {
		return remote, false, err
	}
	server, share, mountOptions, protocol := picked[0], picked[1], picked[2], picked[3]
	if server == "" || share == "" {
		return remote, false, errors.New("the options server and share are required")
	}
	if server, err = flex.Server(server); err != nil {
		return remote, false, err
	}
	if err := flex.SharePath(share); err != nil {
		return remote, false, err
	}
	if o.FSType != "" && !strings.HasPrefix(o.FSType, "nfs") {
		return remote, false, fmt.Errorf("fsType %q is not nfs; leave it out", o.FSType)
	}
	options, readOnly, err := allowed().Parse(mountOptions)
	if err != nil {
		return remote, false, err
	}
	spoken, err := ofProtocol(protocol)
	if err != nil {
		return remote, false, err
	}
	if len(spoken) > 0 && mountopt.Has(options, "vers", "nfsvers", "proto", "tcp", "rdma") {
		return remote, false, errors.New("the option protocol, and vers or proto among the mount options: give one")
	}
	options = append(options, spoken...)
	// A soft mount tells an application that a write has failed which was only late.
	if !mountopt.Has(options, "hard", "soft", "softerr") {
		options = append(options, "hard")
	}
	if !mountopt.Has(options, "vers", "nfsvers") {
		options = append(options, "vers=4")
		fallback = true
	}
	return flex.Remote{
		Types: []string{"nfs", "nfs4"}, Source: server + ":/" + strings.TrimLeft(share, "/"),
		Options: options, ReadOnly: readOnly || o.ReadOnly,
	}, fallback, nil
}

// ofProtocol reads the option protocol of old manifests: the type that they gave to
// mount(8), or the transport.
func ofProtocol(protocol string) ([]string, error) {
	version := strings.TrimPrefix(strings.TrimPrefix(protocol, "nfs"), "v")
	switch {
	case protocol == "" || protocol == "nfs":
		return nil, nil
	case slices.Contains([]string{"tcp", "tcp6", "rdma"}, protocol):
		return []string{"proto=" + protocol}, nil
	case slices.Contains([]string{"3", "4", "4.0", "4.1", "4.2"}, version):
		return []string{"vers=" + version}, nil
	}
	return nil, fmt.Errorf("protocol %q is none of nfs, nfs3, nfs4, nfs4.0, nfs4.1, nfs4.2, tcp, tcp6, rdma", protocol)
}

func allowed() mountopt.List {
	return mountopt.List{
		Flags: []string{
			"hard", "soft", "softerr", "intr", "nointr", "ac", "noac", "cto", "nocto", "acl", "noacl", "lock", "nolock",
			"rdirplus", "nordirplus", "sharecache", "nosharecache", "resvport", "noresvport", "softreval", "nosoftreval", "fg",
			"tcp", "rdma", "sync", "async", "atime", "noatime", "relatime", "diratime", "nodiratime", "exec", "noexec", "nosuid", "nodev", "fsc", "nofsc",
		},
		Values: []string{
			"vers", "nfsvers", "minorversion", "proto", "port", "mountport", "mountproto", "mountvers", "rsize", "wsize", "timeo", "retrans", "retry",
			"acregmin", "acregmax", "acdirmin", "acdirmax", "actimeo", "local_lock", "lookupcache", "nconnect", "max_connect", "sec", "namlen", "xprtsec",
		},
		Either: [][]string{{"hard", "soft", "softerr"}, {"vers", "nfsvers"}, {"proto", "tcp", "rdma"}, {"ac", "noac"}, {"lock", "nolock"}, {"sync", "async"}, {"exec", "noexec"}, {"sharecache", "nosharecache"}},
		Reasons: map[string]string{
			"bg":      "it would leave a program behind that mounts later, when the pod may be gone",
			"suid":    "it is the default; leave it out",
			"dev":     "it is the default; leave it out",
			"_netdev": "it is for /etc/fstab; leave it out",
		},
	}
}
