package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// source is a flexVolume section.
type source struct {
	// driver is the name after the vendor's.
	driver, full string
	fsType       string
	readOnly     bool
	secret       string
	// secretNamespace is "" for the pod's.
	secretNamespace string
	options         map[string]string
	taken           map[string]bool
}

// errNotOurs is what stays as it is, for its driver is not one of hostvol's.
var errNotOurs = errors.New("not a driver of hostvol; left alone")

// errStays is what stays as it is, for there is nothing yet to lead it to.
var errStays = errors.New("hostvol has no engine for LVM yet, and so no CSI volume to lead it to; the FlexVolume driver goes on serving it")

// parse reads a flexVolume section.
func parse(flex Object) (*source, error) {
	full := flex.text("driver")
	s := &source{
		full: full, driver: full[strings.LastIndex(full, "/")+1:],
		fsType: flex.text("fsType"), readOnly: flex.truth("readOnly"),
		secret: flex.text("secretRef", "name"), secretNamespace: flex.text("secretRef", "namespace"),
		options: map[string]string{}, taken: map[string]bool{},
	}
	switch s.driver {
	case "local", "nfs", "cifs":
	case "lvm":
		return s, errStays
	case "":
		return s, errors.New("it names no driver")
	default:
		return s, errNotOurs
	}
	folded := map[string]bool{}
	if flex.at("options") != nil && flex.sub("options") == nil {
		return s, errors.New("options is not a map")
	}
	for key, v := range flex.sub("options") {
		text, ok := v.(string)
		if !ok {
			return s, fmt.Errorf("option %s is not a string; the API takes none but strings, so quote it", key)
		}
		if folded[strings.ToLower(key)] {
			return s, fmt.Errorf("option %q is given twice, in upper and lower case", key)
		}
		folded[strings.ToLower(key)] = true
		s.options[key] = text
	}
	return s, nil
}

// take gives the value of an option and marks it as understood. As with the
// drivers, upper and lower case are one, and blanks around a value stay.
func (s *source) take(name string) string {
	value := ""
	for _, key := range sortedKeys(s.options) {
		if strings.EqualFold(key, name) {
			s.taken[key] = true
			value = s.options[key]
		}
	}
	return value
}

// subject is what a person knows an inline volume by.
func (s *source) subject() string { return cmp.Or(s.take("volume"), s.take("path")) }

// leftOver names what nobody has taken, without the values, for one may be a
// secret.
func (s *source) leftOver() []string {
	var warnings []string
	for _, key := range sortedKeys(s.options) {
		if !s.taken[key] {
			warnings = append(warnings, fmt.Sprintf("option %q means nothing to the CSI driver and is left out", key))
		}
	}
	return warnings
}

// volume is what a source becomes.
type volume struct {
	driver     string
	attributes map[string]any
	// handle of the volume, given the PersistentVolume's name.
	handle       func(pv string) string
	mountOptions []string
	// node that the data lie on; "" for any.
	node string
	// key is equal for equal data.
	key string
	// base is a readable word for names.
	base string
	// size, if the options tell it.
	size   string
	secret Object
	// shared tells that several pods on several nodes may use it.
	shared          bool
	notes, warnings []string
}

// section is spec.csi of the PersistentVolume of that name.
func (v *volume) section(pv string) map[string]any {
	csi := map[string]any{"driver": v.driver, "volumeHandle": v.handle(pv)}
	if len(v.attributes) > 0 {
		csi["volumeAttributes"] = cloned(v.attributes)
	}
	if v.secret != nil {
		csi["nodeStageSecretRef"] = map[string]any(v.secret.clone())
	}
	return csi
}

// translate tells what a source becomes. subject is what the person knows it by,
// for --node-of; node is where it lies as far as the objects tell; namespace is
// that of the pods.
func (o *Options) translate(s *source, subject, node, namespace string) (*volume, error) {
	var v *volume
	var err error
	switch s.driver {
	case "local":
		v, err = o.local(s, subject, node)
	case "nfs":
		v, err = nfs(s)
	default:
		v, err = cifs(s, namespace)
	}
	if err != nil {
		return nil, err
	}
	v.size = s.take("size")
	if s.fsType != "" {
		v.warnings = append(v.warnings, fmt.Sprintf("fsType %q is left out: what is there keeps the filesystem that it has", s.fsType))
	}
	if s.secret != "" && v.secret == nil {
		v.warnings = append(v.warnings, fmt.Sprintf("secretRef %q is left out: the CSI driver takes no secret for this volume", s.secret))
	}
	v.warnings = append(v.warnings, s.leftOver()...)
	return v, nil
}
