package migrate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Drivers of other projects.
const (
	nfsDriver = "nfs.csi.k8s.io"
	smbDriver = "smb.csi.k8s.io"
)

// nfs leads to csi-driver-nfs of the Kubernetes project.
func nfs(s *source) (*volume, error) {
	server, share, protocol := s.take("server"), s.take("share"), s.take("protocol")
	options := splitOptions(s.take("mountOptions") + "," + s.take("opts"))
	server = strings.TrimSuffix(server, ":")
	if server == "" || share == "" {
		return nil, errors.New("an nfs volume needs the options server and share")
	}
	if strings.ContainsAny(server+share, " \t\n,#") {
		return nil, fmt.Errorf("server %q or share %q has a character that no NFS driver takes", server, share)
	}
	if strings.Count(server, ":") > 1 && server[0] != '[' { // an address of IPv6
		server = "[" + server + "]"
	}
	share = "/" + strings.TrimLeft(share, "/")
	v := &volume{
		driver: nfsDriver, mountOptions: options, shared: true,
		attributes: map[string]any{"server": server, "share": share},
		handle:     func(pv string) string { return server + "#" + strings.Trim(share, "/") + "#" + pv },
		base:       share[strings.LastIndex(strings.TrimRight(share, "/"), "/")+1:],
	}
	v.addProtocol(protocol)
	v.key = "nfs " + server + ":" + share + " " + strings.Join(v.mountOptions, ",")
	v.notes = append(v.notes, "needs the driver "+nfsDriver+" of the csi-driver-nfs project, which hostvol does not install")
	return v, nil
}

// addProtocol turns the option protocol into a mount option, unless one says it.
func (v *volume) addProtocol(protocol string) {
	has := func(names ...string) bool {
		return slices.ContainsFunc(v.mountOptions, func(o string) bool {
			name, _, _ := strings.Cut(o, "=")
			return slices.Contains(names, name)
		})
	}
	p := strings.ToLower(protocol)
	number := strings.TrimPrefix(strings.TrimPrefix(p, "nfs"), "v")
	switch {
	case p == "", p == "nfs":
	case slices.Contains([]string{"tcp", "udp", "rdma", "tcp6", "udp6", "rdma6"}, p):
		if !has("proto", "tcp", "udp", "rdma") {
			v.mountOptions = append(v.mountOptions, "proto="+p)
		}
	case slices.Contains([]string{"3", "4", "4.0", "4.1", "4.2"}, number):
		if !has("nfsvers", "vers") {
			v.mountOptions = append(v.mountOptions, "nfsvers="+number)
		}
	default:
		v.warnings = append(v.warnings, fmt.Sprintf("option protocol %q is unknown and left out", protocol))
	}
}

// cifs leads to csi-driver-smb of the Kubernetes project.
func cifs(s *source, namespace string) (*volume, error) {
	share, err := cifsShare(s)
	if err != nil {
		return nil, err
	}
	v := &volume{
		driver: smbDriver, shared: true,
		attributes: map[string]any{"source": share},
		handle:     func(pv string) string { return strings.TrimLeft(share, "/") + "#" + pv },
		base:       share[strings.LastIndex(share, "/")+1:],
	}
	for _, name := range []string{"mountOptions", "opts"} {
		for _, o := range splitOptions(s.take(name)) {
			key, _, _ := strings.Cut(o, "=")
			if slices.Contains([]string{"password", "pass", "passwd", "password2", "credentials", "cred"}, strings.ToLower(key)) {
				v.warnings = append(v.warnings, fmt.Sprintf("mount option %s is left out: credentials belong in a Secret", key))
				continue
			}
			v.mountOptions = append(v.mountOptions, o)
		}
	}
	v.notes = append(v.notes, "needs the driver "+smbDriver+" of the csi-driver-smb project, which hostvol does not install")
	if s.secret == "" {
		v.warnings = append(v.warnings, "there is no secretRef; the driver then mounts as a guest, if the server allows it")
	} else {
		if s.secretNamespace != "" {
			namespace = s.secretNamespace
		}
		v.secret = Object{"name": s.secret, "namespace": namespace}
		v.notes = append(v.notes, fmt.Sprintf("the Secret %s/%s is used as it is (keys username, password, domain); its type %q cannot be changed and does no harm", namespace, s.secret, s.full))
	}
	v.key = strings.Join([]string{"cifs", share, v.secret.text("namespace"), s.secret, strings.Join(v.mountOptions, ",")}, " ")
	return v, nil
}

func cifsShare(s *source) (string, error) {
	var given []string
	for _, name := range []string{"networkPath", "source"} {
		if p := s.take(name); p != "" {
			given = append(given, p)
		}
	}
	if server, share := s.take("server"), s.take("share"); server != "" && share != "" {
		given = append(given, "//"+strings.Trim(server, `/\`)+"/"+strings.Trim(share, `/\`))
	}
	if len(given) == 0 {
		return "", errors.New("a cifs volume needs the option networkPath or source, or server and share")
	}
	share := "//" + strings.Trim(strings.ReplaceAll(given[0], `\`, "/"), "/")
	if server, rest, _ := strings.Cut(share[2:], "/"); server == "" || rest == "" || strings.ContainsAny(share, "\t\n,#") {
		return "", fmt.Errorf("%q is not a share such as //server/share", given[0])
	}
	for _, other := range given[1:] {
		if "//"+strings.Trim(strings.ReplaceAll(other, `\`, "/"), "/") != share {
			return "", fmt.Errorf("its options name two shares, %q and %q; take one away", given[0], other)
		}
	}
	return share, nil
}

// splitOptions takes a comma-separated list of mount options apart.
func splitOptions(s string) []string {
	var all []string
	for o := range strings.SplitSeq(s, ",") {
		if o = strings.TrimSpace(o); o != "" && !slices.Contains(all, o) {
			all = append(all, o)
		}
	}
	return all
}
