package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestMigrateReadsTheStandardInput(t *testing.T) {
	for _, c := range []struct {
		args, in, want string
	}{
		{"-f -", "kind: PersistentVolume\nmetadata: {name: a}\nspec: {flexVolume: {driver: x/lvm}}\n", "Stays as it is:"},
		{"-f - --mode=many", "", "--mode is single or distributed"},
		{"", "", "give files with -f"},
		{"-f - --apply", "", "give --from-cluster as well"},
		{"--from-cluster --kubectl=/no/such/kubectl", "", "install it"},
		{"-f - --size-of=a=big", "", "is not a size"},
	} {
		var out bytes.Buffer
		m := migrate()
		m.SetArgs(strings.Fields(c.args))
		m.SetIn(strings.NewReader(c.in))
		m.SetOut(&out)
		m.SetErr(&out)
		m.SilenceUsage, m.SilenceErrors = true, true
		if err := m.ExecuteContext(t.Context()); err != nil {
			out.WriteString(err.Error())
		}
		if !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: %s", c.args, out.String())
		}
	}
}
