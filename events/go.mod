module github.com/tagship/tagship/events

go 1.26.0
