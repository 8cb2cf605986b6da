// Judges the chart's alerts and dashboard by Prometheus' own code: `alerts CASES RULES DASHBOARD`.
//
// The rules are loaded as Prometheus does, and evaluated over the series of each case, which has the format of `promtool test
// rules`. promtool itself would bring the service discovery of every cloud along, which takes many minutes to compile. Each
// alert must go off in some case. The queries of the dashboard are parsed.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"gopkg.in/yaml.v3"
)

type cases struct {
	RuleFiles          []string       `yaml:"rule_files"`
	EvaluationInterval model.Duration `yaml:"evaluation_interval"`
	Tests              []test
}

type test struct {
	Name        string
	Interval    model.Duration
	InputSeries []struct{ Series, Values string } `yaml:"input_series"`
	Alerts      []expectation                     `yaml:"alert_rule_test"`
}

type expectation struct {
	Alert string         `yaml:"alertname"`
	At    model.Duration `yaml:"eval_time"`
	Fires []struct {
		Labels      map[string]string `yaml:"exp_labels"`
		Annotations map[string]string `yaml:"exp_annotations"`
	} `yaml:"exp_alerts"`
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: alerts CASES RULES DASHBOARD")
		os.Exit(2)
	}
	problems, judged, err := judge(os.Args[1], os.Args[2], os.Args[3])
	for _, problem := range problems {
		fmt.Println(problem)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	if err != nil || len(problems) > 0 {
		os.Exit(1)
	}
	fmt.Println(judged)
}

func judge(casesFile, rulesFile, dashboard string) ([]string, string, error) {
	text, err := os.ReadFile(casesFile)
	if err != nil {
		return nil, "", err
	}
	var all cases
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&all); err != nil {
		return nil, "", fmt.Errorf("%s: %w", casesFile, err)
	}
	var problems []string
	expectations, seen, known := 0, map[string]bool{}, map[string]bool{}
	for _, test := range all.Tests {
		found, err := test.run(rulesFile, time.Duration(all.EvaluationInterval), known)
		if err != nil {
			return problems, "", fmt.Errorf("%s: %w", test.Name, err)
		}
		problems = append(problems, found...)
		expectations += len(test.Alerts)
		for _, expected := range test.Alerts {
			seen[expected.Alert] = seen[expected.Alert] || len(expected.Fires) > 0
		}
	}
	for alert := range known {
		if !seen[alert] {
			problems = append(problems, alert+": no case sets it off")
		}
	}
	for alert := range seen {
		if !known[alert] {
			problems = append(problems, alert+": a case names it, but there is no such alert")
		}
	}
	queries, found, err := checkDashboard(dashboard)
	problems = append(problems, found...)
	if err == nil && (len(known) == 0 || queries == 0) {
		err = fmt.Errorf("nothing was judged")
	}
	return problems, fmt.Sprintf("%d alerts in %d cases with %d expectations, %d queries of the dashboard",
		len(known), len(all.Tests), expectations, queries), err
}

// Evaluates the rules over the series, and compares what fires at each moment that is expected.
func (test test) run(rulesFile string, interval time.Duration, known map[string]bool) ([]string, error) {
	input := fmt.Sprintf("load %v\n", test.Interval)
	for _, series := range test.InputSeries {
		input += fmt.Sprintf("  %s %s\n", series.Series, series.Values)
	}
	loader, err := promqltest.NewLazyLoader(input, promqltest.LazyLoaderOpts{})
	if err != nil {
		return nil, err
	}
	defer loader.Close()
	loader.SubqueryInterval = interval
	manager := rules.NewManager(&rules.ManagerOptions{
		QueryFunc:  rules.EngineQueryFunc(loader.QueryEngine(), loader.Storage()),
		Appendable: loader.Storage(),
		Context:    context.Background(),
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
		Logger:     promslog.NewNopLogger(),
	})
	groups, errors := manager.LoadGroups(interval, labels.EmptyLabels(), "", nil, false, rulesFile)
	if len(errors) > 0 {
		return nil, errors[0]
	}
	var alerts []*rules.AlertingRule
	var last time.Duration
	for _, group := range groups {
		for _, rule := range group.Rules() {
			alert, is := rule.(*rules.AlertingRule)
			if !is {
				return nil, fmt.Errorf("%s is no alert", rule.Name())
			}
			known[alert.Name()] = true
			alert.SetRestored(true)
			alerts = append(alerts, alert)
		}
	}
	for _, expected := range test.Alerts {
		last = max(last, time.Duration(expected.At))
	}
	var problems []string
	for at := time.Duration(0); at <= last; at += interval {
		moment := time.Unix(0, 0).UTC().Add(at)
		loader.WithSamplesTill(moment, func(loaded error) {
			err = loaded
			for _, group := range groups {
				group.Eval(loader.Context(), moment)
			}
		})
		for _, alert := range alerts {
			if err == nil {
				err = alert.LastError()
			}
		}
		if err != nil {
			return problems, err
		}
		for _, expected := range test.Alerts {
			if time.Duration(expected.At) == at {
				if got, want := firing(alerts, expected.Alert), expected.shown(); !slices.Equal(got, want) {
					problems = append(problems, fmt.Sprintf("%s: %s after %v: expected\n  %s\nbut there is\n  %s",
						test.Name, expected.Alert, expected.At, strings.Join(want, "\n  "), strings.Join(got, "\n  ")))
				}
			}
		}
	}
	return problems, nil
}

// The labels and annotations of what fires.
func firing(alerts []*rules.AlertingRule, name string) []string {
	var shown []string
	for _, alert := range alerts {
		for _, active := range alert.ActiveAlerts() {
			if alert.Name() == name && active.State == rules.StateFiring {
				shown = append(shown, active.Labels.String()+" "+active.Annotations.String())
			}
		}
	}
	slices.Sort(shown)
	return shown
}

func (expected expectation) shown() []string {
	var shown []string
	for _, fires := range expected.Fires {
		all := map[string]string{labels.AlertName: expected.Alert}
		for name, value := range fires.Labels {
			all[name] = value
		}
		shown = append(shown, labels.FromMap(all).String()+" "+labels.FromMap(fires.Annotations).String())
	}
	slices.Sort(shown)
	return shown
}

// Parses each query, with a value in place of what Grafana fills in.
func checkDashboard(file string) (int, []string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, nil, err
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		return 0, nil, fmt.Errorf("%s: %w", file, err)
	}
	var problems []string
	count := 0
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			count++
			query := strings.NewReplacer("$__rate_interval", "5m", "$namespace", ".+").Replace(target.Expr)
			if _, err := parser.ParseExpr(query); err != nil {
				problems = append(problems, fmt.Sprintf("%s: panel %q: %v", file, panel.Title, err))
			}
		}
	}
	return count, problems, nil
}
