package migrate

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Annotations of the PersistentVolumes that are written here. By them a run knows
// what an earlier one has done.
const (
	// fromAnnotation names what the volume was made from.
	fromAnnotation = "migrate.hostvol.io/from"
	// claimAnnotation is the claim that goes with it, as JSON: between the end of
	// the old claim and the making of the new one it exists nowhere else.
	claimAnnotation = "migrate.hostvol.io/claim"
)

// volumeSuffix makes the new PersistentVolume's name of the old one's.
const volumeSuffix = "-csi"

// inlineName is the name of the PersistentVolume and of the claim for the data of
// an inline volume in a namespace: readable, and always the same.
func inlineName(base, namespace, key string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(base) {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0:
			b.WriteByte('-')
		}
	}
	name := b.String()
	if len(name) > 40 {
		name = name[:40]
	}
	return strings.Trim("flex-"+strings.Trim(name, "-"), "-") + "-" + digest(namespace+"\n"+key)
}

// shorten keeps a name within so many bytes, with a digest in place of the rest.
func shorten(name string, most int) string {
	if len(name) <= most {
		return name
	}
	return strings.TrimRight(name[:most-11], "-.") + "-" + digest(name)
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:5])
}

// quote makes a word of a command for a shell.
func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=@%+,-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
