"""`python -m crewline.cli`: the `crewline` command of this interpreter."""

from crewline.cli.main import main

if __name__ == "__main__":
    main()
