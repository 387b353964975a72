"""`python -m lstmgan_dist` is the `lstmgan` command."""

from lstmgan_dist.cli import main

if __name__ == "__main__":
    main()
