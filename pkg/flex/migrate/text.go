package migrate

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// step is one thing to do, in words and as commands for a shell.
type step struct {
	text     string
	commands []string
}

// Print writes the plan for a person. kubectl is how commands begin.
func (p *Plan) Print(w io.Writer, kubectl string) error {
	var b strings.Builder
	if len(p.Items) == 0 {
		b.WriteString("There is no FlexVolume that can be migrated.\n")
	}
	files := p.files()
	for n, item := range p.Items {
		fmt.Fprintf(&b, "\n%d. %s -> PersistentVolume %s (%s), claim %s/%s\n", n+1, item.what(), item.Volume.name(),
			item.Volume.text("spec", "csi", "driver"), item.Claim.namespace(), item.Claim.name())
		for _, w := range item.Warnings {
			fmt.Fprintf(&b, "   WARNING: %s\n", oneLine(w))
		}
		for _, t := range item.Notes {
			fmt.Fprintf(&b, "   note: %s\n", oneLine(t))
		}
		number(&b, fmt.Sprintf("   %d", n+1), item.steps(files, kubectl))
	}
	for n, r := range p.Rewrites {
		fmt.Fprintf(&b, "\n%d. %s\n", len(p.Items)+n+1, r.title())
		for _, w := range r.Warnings {
			fmt.Fprintf(&b, "   WARNING: %s\n", oneLine(w))
		}
		number(&b, fmt.Sprintf("   %d", len(p.Items)+n+1), r.steps(files, kubectl))
	}
	section(&b, "Refused, for a person has to decide:", p.Refused)
	section(&b, "Stays as it is:", p.Stay)
	_, err := io.WriteString(w, strings.TrimLeft(b.String(), "\n"))
	return err
}

func number(b *strings.Builder, prefix string, steps []step) {
	for i, s := range steps {
		fmt.Fprintf(b, "%s.%d %s\n", prefix, i+1, s.text)
		for _, c := range s.commands {
			fmt.Fprintf(b, "        %s\n", c)
		}
	}
}

// oneLine keeps what files say from looking like lines of the plan, or from
// playing with a terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func section(b *strings.Builder, title string, all []Left) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	for _, l := range all {
		fmt.Fprintf(b, " - %s: %s.\n", oneLine(l.What), oneLine(strings.TrimSuffix(l.Why, ".")))
	}
}

// steps are those of one volume, in the order in which nothing is lost: the new
// volume is there before the old claim goes, and the old volume goes last.
func (i *Item) steps(files map[string]string, kubectl string) []step {
	create := func(o Object) string { return kubectl + " create -f " + quote(files[o.ref()]) }
	ns, claim := i.Claim.namespace(), i.Claim.name()
	bound := kubectl + " -n " + ns + " wait pvc/" + claim + " --for=jsonpath='{.status.phase}'=Bound --timeout=1m"
	if i.resumed() {
		return []step{{"Create the claim, and wait until it is bound; its volume is there.", []string{create(i.Claim), bound}}}
	}
	if i.From == nil {
		return []step{
			{"Create the volume, which only this claim can get, and the claim. Pods that run are not touched.", []string{create(i.Volume), create(i.Claim)}},
			{"Wait until the claim is bound.", []string{bound}},
		}
	}
	old := i.From.name()
	return []step{
		i.stop(kubectl),
		{"Keep the old objects in files.", []string{
			kubectl + " get pv " + old + " -o yaml >old-pv-" + old + ".yaml",
			kubectl + " -n " + ns + " get pvc " + claim + " -o yaml >old-pvc-" + claim + ".yaml",
		}},
		{"Let nothing delete the data: the answer must be Retain.", []string{
			kubectl + ` patch pv ` + old + ` -p '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}'`,
			kubectl + " get pv " + old + " -o jsonpath='{.spec.persistentVolumeReclaimPolicy}'",
		}},
		{"Create the new volume, which only this claim can get.", []string{create(i.Volume)}},
		{"Delete the old claim; it goes when no pod uses it.", []string{kubectl + " -n " + ns + " delete pvc " + claim + " --timeout=2m"}},
		{"Create the new claim, of the same name, and wait until it is bound.", []string{create(i.Claim), bound}},
		{"Delete the old PersistentVolume: the object, not the data.", []string{kubectl + " delete pv " + old + " --timeout=2m"}},
		{"Start the pods again; they need no change.", nil},
	}
}

// stop tells which pods must end, and how.
func (i *Item) stop(kubectl string) step {
	s := step{text: "No pod may use the claim; none is known."}
	var names []string
	for _, u := range i.Users {
		names = append(names, u.ref())
		switch u.kind() {
		case "Deployment", "StatefulSet", "ReplicaSet":
			s.commands = append(s.commands, fmt.Sprintf("%s -n %s scale %s/%s --replicas=0", kubectl, u.namespace(), strings.ToLower(u.kind()), u.name()))
		case "CronJob":
			s.commands = append(s.commands, fmt.Sprintf(`%s -n %s patch cronjob %s -p '{"spec":{"suspend":true}}'`, kubectl, u.namespace(), u.name()))
		case kindPod:
			if u.at("metadata", "ownerReferences") == nil {
				s.commands = append(s.commands, fmt.Sprintf("%s -n %s delete pod %s", kubectl, u.namespace(), u.name()))
			}
		}
	}
	if len(names) > 0 {
		s.text = "Stop what uses the claim: " + strings.Join(names, ", ") + "."
	}
	return s
}

func (r *Rewrite) title() string {
	if r.How == unchanged {
		return r.Old.ref() + " stays as it is, and is kept in a file"
	}
	return r.Old.ref() + " names claims"
}

func (r *Rewrite) steps(files map[string]string, kubectl string) []step {
	file, ns := quote(files[r.New.ref()]), r.Old.namespace()
	object := strings.ToLower(r.Old.kind()) + " " + r.Old.name()
	again := []string{kubectl + " -n " + ns + " delete " + object, kubectl + " create -f " + file}
	switch r.How {
	case unchanged:
		return []step{{"After the migration of its claim, create it again.", again[1:]}}
	case byHand:
		return []step{{"Delete it, and create it from its new manifest.", again}}
	}
	stop := step{text: "It may have no pods while its template changes."}
	if r.Old.kind() == "CronJob" {
		stop.commands = []string{kubectl + " -n " + ns + " patch " + object + ` -p '{"spec":{"suspend":true}}'`}
	} else {
		stop.commands = []string{kubectl + " -n " + ns + " scale " + object + " --replicas=0"}
	}
	return []step{stop, {"Replace it by its new manifest, which brings its pods back, too.", []string{kubectl + " replace -f " + file}}}
}
